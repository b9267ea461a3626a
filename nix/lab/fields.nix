# SPDX-License-Identifier: MIT
# Each value of a lab judged alone, by the orchestrator's own table: fields.json is what `orchestrator schema --table`
# prints, and a unit test of the orchestrator's compares.  What takes two values to judge is rules.nix's.
#
# Nothing here needs nixpkgs.
let
  inherit (builtins)
    all attrNames attrValues bitAnd concatLists concatStringsSep elem elemAt filter foldl' floor fromJSON genList hasAttr head
    isAttrs isBool isFloat isInt isList isString length listToAttrs map mapAttrs match readFile replaceStrings stringLength
    substring;

  objects = fromJSON (readFile ./fields.json);
  units = import ./units.nix;

  # --- words --------------------------------------------------------------------------------------------------------------

  # Written as \u00NN in JSON, and so here: this file has none itself.
  hex = n: let digits = "0123456789abcdef"; in "${substring (n / 16) 1 digits}${substring (n - n / 16 * 16) 1 digits}";
  controls = map (n: rec { shown = "\\u00${hex n}"; plain = fromJSON "\"${shown}\""; }) (genList (n: n + 1) 31 ++ genList (n: n + 127) 33);
  plains = map (c: c.plain) controls;
  hasControl = text: replaceStrings plains (map (_: "") plains) text != text;

  escape = text:
    replaceStrings ([ "\"" "\\" ] ++ plains) ([ "\\\"" "\\\\" ] ++ map (c: c.shown) controls) text;
  # Cut where that cannot split a character; longer texts than this are not looked at.
  quote = text:
    if stringLength text <= 60 then "\"${escape text}\""
    else if stringLength text > 4096 then "\"…\""
    else if match "[ -~]*" text != null then "\"${escape (substring 0 60 text)}…\""
    else "\"${escape text}\"";

  # A step of a JSON pointer.
  step = key: "/${replaceStrings ([ "~" "/" ] ++ plains) ([ "~0" "~1" ] ++ map (c: c.shown) controls) key}";

  # What it is in JSON.
  typeOf = value:
    if value == null then "null"
    else if isBool value then "a boolean"
    else if isInt value || isFloat value then "a number"
    else if isString value then "a string"
    else if isList value then "an array"
    else if isAttrs value then "an object"
    else "something that JSON has no word for";

  # --- answers ------------------------------------------------------------------------------------------------------------

  # A judgement: whether the value can be used, what it means, and what is wrong in and below it.
  good = value: { ok = true; inherit value; errors = [ ]; };
  error = pointer: text: { inherit pointer text; };
  bad = pointer: text: { ok = false; value = null; errors = [ (error pointer text) ]; };
  typed = type: wanted: pointer: value: judge:
    if typeOf value == type then judge else bad pointer "expected ${wanted}, got ${typeOf value}";

  # Elements judged each by itself; those that are there before, by `same`, are bad.
  elements = pointer: list: judge: twice:
    let
      judged = genList (i: judge "${pointer}/${toString i}" (elemAt list i)) (length list);
      once = i:
        let j = elemAt judged i;
        in
        if j.ok && elem j.value (map (k: (elemAt judged k).value) (filter (k: (elemAt judged k).ok) (genList (k: k) i))) then
          bad "${pointer}/${toString i}" (twice j.value)
        else j;
      final = if twice == null then judged else genList once (length list);
    in
    {
      ok = true;
      value = final;
      errors = concatLists (map (j: j.errors) final);
    };

  # --- kinds --------------------------------------------------------------------------------------------------------------

  judgeText = min: max: pointer: value:
    typed "a string" "a string" pointer value (
      if stringLength value < min then bad pointer "must not be empty"
      else if stringLength value > max then bad pointer "is ${toString (stringLength value)} bytes long, at most ${toString max} are allowed"
      else if hasControl value then bad pointer "control characters are not allowed here"
      else good value);

  nameFault = name:
    if stringLength name > 63 then "is too long for a name: at most 63 characters"
    else if match "[a-z0-9]([a-z0-9-]*[a-z0-9])?" name == null then "is not a name: use a-z, 0-9 and '-', the latter not at the ends"
    else null;

  judgeName = pointer: value:
    typed "a string" "a name" pointer value (
      let fault = nameFault value;
      in if fault == null then good value else bad pointer "${quote value} ${fault}");

  judgeQuantity = field: pointer: value:
    let
      u = units.${field.kind};
      read = u.read value;
      low = field.min or 0;
      high = field.max or 0;
    in
    typed "a string" u.wanted pointer value (
      if read ? fault then bad pointer "${quote value} ${read.fault}"
      else if read.value < low || read.value > high then bad pointer "${quote value} is out of range: ${u.show low} to ${u.show high}"
      else if field.kind == "size" && bitAnd read.value 1048575 != 0 then bad pointer "${quote value} is not a whole number of MiB"
      else good read.value);

  # 2.0 is an integer, as JSON has but one kind of number; where a fraction is too coarse to tell, it is none.
  whole = value:
    if isFloat value && value < 9007199254740992 && value > -9007199254740992 && floor value == value then floor value else value;
  judgeCount = field: pointer: given:
    let
      value = whole given;
      low = field.min or 0;
      high = field.max or 0;
    in
    typed "a number" "an integer" pointer value (
      if !isInt value then bad pointer "expected an integer, got a fraction"
      else if low == high && value != low then bad pointer "${toString value} is not known: the only one is ${toString low}"
      else if value < low || value > high then bad pointer "${toString value} is out of range: ${toString low} to ${toString high}"
      else good value);

  judgeWord = words: pointer: value:
    typed "a string" "a string" pointer value (
      if elem value words then good value
      else bad pointer "${quote value} is not known here: one of ${concatStringsSep ", " words}");

  byte = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
  readIp = text:
    let found = if stringLength text > 15 then null else match "${byte}\\.${byte}\\.${byte}\\.${byte}" text;
    in if found == null then null else foldl' (sum: part: sum * 256 + fromJSON part) 0 found;
  showIp = ip: concatStringsSep "." (map (shift: toString (bitAnd (ip / shift) 255)) [ 16777216 65536 256 1 ]);
  blockOf = prefix: foldl' (n: _: n * 2) 1 (genList (i: i) (32 - prefix));

  judgeSubnet = field: pointer: value:
    let
      found = match "([^/]*)/([0-9][0-9]?)" value;
      address = readIp (head found);
      prefix = fromJSON (head (match "0*([0-9]+)" (elemAt found 1)));
      block = blockOf prefix;
      first = address / 16777216;
    in
    typed "a string" "a subnet like \"192.168.100.0/24\"" pointer value (
      if stringLength value > 64 || found == null || address == null || prefix > 32 then
        bad pointer "${quote value} is not a subnet: write it like \"192.168.100.0/24\""
      else if prefix > field.max then bad pointer "${quote value} is too small: a subnet has a prefix of /8 to /30"
      else if prefix < field.min then bad pointer "${quote value} is too large: a subnet has a prefix of /8 to /30"
      else if address / block * block != address then
        bad pointer "${quote value} has host bits (did you mean \"${showIp (address / block * block)}/${toString prefix}\"?)"
      else if first == 0 || first == 127 || first >= 224 then
        bad pointer "${quote value} is not for hosts: loopback, multicast or reserved"
      else good { subnet = address; inherit prefix block; });

  judgeIp = pointer: value:
    typed "a string" "an IPv4 address" pointer value (
      if readIp value != null then good (readIp value)
      else if stringLength value <= 64 && match "[^/]*/.*" value != null then bad pointer "${quote value}: give the address alone, its prefix is the subnet's"
      else bad pointer "${quote value} is not an IPv4 address");

  lower = replaceStrings [ "A" "B" "C" "D" "E" "F" ] [ "a" "b" "c" "d" "e" "f" ];
  judgeMac = pointer: value:
    typed "a string" "a MAC address" pointer value (
      if stringLength value != 17 || match "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}" value == null then
        bad pointer "${quote value} is not a MAC address: write it like \"52:54:00:12:34:56\""
      else if match ".[02468ACEace].*" value == null then bad pointer "${quote value} is a multicast address: the first pair must be even"
      else if value == "00:00:00:00:00:00" then bad pointer "${quote value} is no address"
      else good { key = lower value; said = value; });

  judgeLink = pointer: value:
    typed "a string" "a link like \"n1\" or \"n1:lan\"" pointer value (
      if stringLength value <= 4096 && match "[a-z0-9-]+([.:][a-z0-9.:-]+)?" value != null then good value
      else bad pointer "${quote value} is not a link: write VM, VM.NIC or VM:NETWORK, as in \"n1\"");

  sized = what: field: pointer: value: rest:
    let
      n = length value;
      low = field.min or 0;
      high = field.max or 0;
    in
    typed "an array" what pointer value (
      if n < low && low == 1 then bad pointer "must not be empty"
      else if n > high then bad pointer "has ${toString n} elements, at most ${toString high} are allowed"
      else rest);
  between = what: low: high: pointer: value: rest:
    let n = length value;
    in
    typed "an array" what pointer value (
      if n < low || n > high then bad pointer "has ${toString n} elements: ${toString low} to ${toString high} are allowed" else rest);

  judgeNames = field: pointer: value:
    typed "an array" "an array of names" pointer value (
      if length value > field.max then bad pointer "has ${toString (length value)} names, at most ${toString field.max} are allowed"
      else elements pointer value judgeName (name: "\"${name}\" is named twice"));

  judgeTexts = field: pointer: value:
    sized "an array of strings" field pointer value (elements pointer value (judgeText 0 1024) null);

  judgeCounts = field: pointer: value:
    between "an array of integers" 1 4094 pointer value (elements pointer value (judgeCount field) (n: "${toString n} is there twice"));

  judgeLinks = field: pointer: value:
    between "an array of links" (field.min or 0) field.max pointer value (
      elements pointer value judgeLink (link: "\"${link}\" is named twice"));

  judgeList = field: pointer: value:
    typed "an array" "an array" pointer value (
      if length value > field.max then bad pointer "has ${toString (length value)} elements, at most ${toString field.max} are allowed"
      else elements pointer value (judgeObject field.object) null);

  judgeMap = field: pointer: value:
    let
      names = attrNames value;
      members = mapAttrs (name: judgeObject field.object "${pointer}${step name}") value;
      named = name:
        let fault = nameFault name;
        in if fault == null then [ ] else [ (error "${pointer}${step name}" "${quote name} ${fault}") ];
    in
    typed "an object" "an object" pointer value (
      if length names < (field.min or 0) then bad pointer "must name at least one"
      else if length names > field.max then bad pointer "names ${toString (length names)}, at most ${toString field.max} are allowed"
      else {
        ok = true;
        value = members;
        errors = concatLists (map (name: named name ++ members.${name}.errors) names);
      });

  # As the table tells choices apart: by their types in JSON.
  typeOfKind = kind:
    if kind == "count" then "a number"
    else if kind == "flag" then "a boolean"
    else if elem kind [ "names" "texts" "counts" "links" "list" ] then "an array"
    else if elem kind [ "object" "map" ] then "an object"
    else "a string";
  judgeEither = field: pointer: value:
    let fits = filter (choice: typeOfKind choice.kind == typeOf value) field.choices;
    in
    if fits == [ ] then
      bad pointer "expected ${concatStringsSep " or " (map (choice: typeOfKind choice.kind) field.choices)}, got ${typeOf value}"
    else judgeField (head fits) pointer value;

  judgeField = field: pointer: value: {
    text = judgeText (field.min or 0) field.max pointer value;
    name = judgeName pointer value;
    size = judgeQuantity field pointer value;
    bytes = judgeQuantity field pointer value;
    time = judgeQuantity field pointer value;
    delay = judgeQuantity field pointer value;
    chance = judgeQuantity field pointer value;
    rate = judgeQuantity field pointer value;
    count = judgeCount field pointer value;
    word = judgeWord field.words pointer value;
    flag = typed "a boolean" "true or false" pointer value (good value);
    subnet = judgeSubnet field pointer value;
    ip = judgeIp pointer value;
    mac = judgeMac pointer value;
    link = judgeLink pointer value;
    names = judgeNames field pointer value;
    texts = judgeTexts field pointer value;
    counts = judgeCounts field pointer value;
    links = judgeLinks field pointer value;
    object = judgeObject field.object pointer value;
    list = judgeList field pointer value;
    map = judgeMap field pointer value;
    either = judgeEither field pointer value;
  }.${field.kind};

  # An object of the table.  Its value has a judgement of each known key that is there, `has` tells of any key, `at` of its place.
  judgeObject = kind: pointer: value:
    let
      keys = objects.${kind}.keys;
      free = key: substring 0 2 key == "x-";
      there = filter (key: !free key) (attrNames value);
      known = filter (key: hasAttr key keys) there;
      members = listToAttrs (map (key: { name = key; value = judgeField keys.${key} "${pointer}${step key}" value.${key}; }) known);
      missing = filter (key: (keys.${key}.required or false) && !(hasAttr key value)) (attrNames keys);
    in
    typed "an object" "an object" pointer value {
      ok = true;
      value = { inherit kind members pointer; has = key: hasAttr key value; };
      errors =
        concatLists (map (key: members.${key}.errors) known)
        ++ map (key: error "${pointer}${step key}" "unknown key ${quote key}") (filter (key: !(hasAttr key keys)) there)
        ++ map (key: error pointer "the key \"${key}\" is missing") missing;
    };
in
{
  inherit error objects quote readIp showIp step units;
  judge = judgeObject "lab" "";
}
