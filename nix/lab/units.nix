# SPDX-License-Identifier: MIT
# Numbers with units, as orchestrator/model/units.c reads them.  Each reader answers { value; } or { fault; }, the latter with
# the orchestrator's own words.
let
  inherit (builtins) elemAt filter fromJSON head length match stringLength substring;

  tenTo = digits: if digits == 0 then 1 else 10 * tenTo (digits - 1);
  largest = 9223372036854775807;
  gcd = a: b: if b == 0 then a else gcd b (remainder a b);
  remainder = a: b: a - b * (a / b);

  # fraction / 10^digits of `scale`, exactly, or null.  What is multiplied is smaller than `scale`: nothing overflows.
  part = fraction: digits: scale:
    let
      common = gcd fraction (tenTo digits);
      below = tenTo digits / common;
    in
    if fraction == 0 then 0
    else if remainder scale below != 0 then null
    else fraction / common * (scale / below);

  # Digits without the zeros in front that JSON would not take.
  number = digits:
    let bare = match "0*([0-9]+)" digits;
    in fromJSON (head bare);

  scaled = whole: fraction: scale:
    let
      digits = if fraction == null then "" else fraction;
      rest = if digits == "" then 0 else part (number digits) (stringLength digits) scale;
    in
    if rest == null then { fault = "has more digits than mean anything"; }
    else if number whole > (largest - rest) / scale then { fault = "is too large"; }
    else { value = number whole * scale + rest; };

  reader = { units, fractions, form, unit }: text:
    let
      found = if stringLength text > 64 then null else match "([0-9]+)(.*)" text;
      whole = elemAt found 0;
      tail = if fractions then match "\\.([0-9]+)(.*)" (elemAt found 1) else null;
      fraction = if tail == null then null else elemAt tail 0;
      word = if tail == null then elemAt found 1 else elemAt tail 1;
      known = filter (u: u.name == word) units;
    in
    if stringLength text <= 64 && match "-[0-9].*" text != null then { fault = "is negative"; }
    else if found == null then { fault = form; }
    else if stringLength whole > 20 then { fault = "is too large"; }
    else if stringLength whole > 1 && substring 0 1 whole == "0" then { fault = form; }
    else if fractions && tail == null && substring 0 1 word == "." then { fault = form; }
    else if fraction != null && stringLength fraction > 12 then { fault = "is too large"; }
    else if known == [ ] then { fault = unit; }
    else if stringLength whole > 18 then { fault = "is too large"; }
    else scaled whole fraction (head known).scale;

  unit = name: scale: { inherit name scale; };
  sizes = [
    (unit "TiB" 1099511627776)
    (unit "GiB" 1073741824)
    (unit "MiB" 1048576)
    (unit "KiB" 1024)
    (unit "B" 1)
  ];
  times = [ (unit "h" 3600000) (unit "m" 60000) (unit "s" 1000) (unit "ms" 1) ];
  delays = [
    (unit "h" 3600000000000)
    (unit "m" 60000000000)
    (unit "s" 1000000000)
    (unit "ms" 1000000)
    (unit "us" 1000)
    (unit "ns" 1)
  ];
  chances = [ (unit "%" 10000000) ];
  rates = [ (unit "gbit" 1000000000) (unit "mbit" 1000000) (unit "kbit" 1000) (unit "bit" 1) ];

  # In the largest unit that divides it.
  wholeIn = units: n:
    let fits = filter (u: u.scale == 1 || (n > 0 && remainder n u.scale == 0)) units;
    in "${toString (n / (head fits).scale)}${(head fits).name}";

  # In the largest unit of which there is at least one; only bounds are shown so, and these are whole in it.
  leastIn = units: n:
    let
      fits = filter (u: n >= u.scale) units;
      u = if fits == [ ] then elemAt units (length units - 1) else head fits;
      rest = remainder n u.scale;
      decimals = left: place:
        if left == 0 then "" else "${toString (left / (place / 10))}${decimals (remainder left (place / 10)) (place / 10)}";
    in
    "${toString (n / u.scale)}${if rest == 0 then "" else "." + decimals rest u.scale}${u.name}";

  delayIn = n: if n > 0 && remainder n 60000000000 == 0 then wholeIn delays n else leastIn (filter (u: u.scale <= 1000000000) delays) n;

  size = {
    wanted = "a size like \"512MiB\"";
    read = reader {
      units = sizes;
      fractions = false;
      form = "is not a size: write it like \"512MiB\"";
      unit = "is not a size: its unit is B, KiB, MiB, GiB or TiB, as in \"512MiB\"";
    };
    show = wholeIn sizes;
  };
in
{
  inherit size;
  bytes = size // { wanted = "a size like \"64KiB\""; };
  time = {
    wanted = "a time like \"30s\"";
    read = reader {
      units = times;
      fractions = false;
      form = "is not a time: write it like \"30s\"";
      unit = "is not a time: its unit is ms, s, m or h, as in \"30s\"";
    };
    show = wholeIn times;
  };
  delay = {
    wanted = "a delay like \"20ms\"";
    read = reader {
      units = delays;
      fractions = true;
      form = "is not a delay: write it like \"20ms\"";
      unit = "is not a delay: its unit is ns, us, ms, s, m or h, as in \"20ms\"";
    };
    show = delayIn;
  };
  chance = {
    wanted = "a percentage like \"2%\"";
    read = reader {
      units = chances;
      fractions = true;
      form = "is not a percentage: write it like \"2%\"";
      unit = "is not a percentage: it ends with %, as in \"2%\"";
    };
    show = leastIn chances;
  };
  rate = {
    wanted = "a rate like \"100mbit\"";
    read = reader {
      units = rates;
      fractions = true;
      form = "is not a rate: write it like \"100mbit\"";
      unit = "is not a rate: its unit is bit, kbit, mbit or gbit (per second), as in \"100mbit\"";
    };
    show = leastIn rates;
  };
}
