# SPDX-License-Identifier: MIT
# What takes two values of a lab to judge, or more: references, duplicates, addresses, cycles, settings that make no sense
# together.  It follows orchestrator/model/build*.c, and says the same in the same words; tests compare on labs good and bad.
#
# Two mistakes are left to the orchestrator, which looks at every lab when it is built: a "stdout" that is no regular
# expression of Perl's, and socket paths that are too long, which depends on who runs the lab where.
{ error, objects, quote, readIp, showIp, step, ... }:
judged:
let
  inherit (builtins)
    attrNames bitAnd concatLists concatMap concatStringsSep elem elemAt filter foldl' fromJSON genList hasAttr head isAttrs isBool
    isInt isList isString length listToAttrs map mapAttrs match stringLength substring tail toString;

  root = judged.value;

  # --- reading ------------------------------------------------------------------------------------------------------------

  # The value of a key that is there and good, else null.
  get = object: key:
    if object == null || !(hasAttr key object.members) || !object.members.${key}.ok then null else object.members.${key}.value;
  has = object: key: object != null && object.has key;
  at = object: key: "${object.pointer}${step key}";
  or' = value: otherwise: if value == null then otherwise else value;
  # What is good of a list of objects.
  objectsOf = list: if list == null then [ ] else map (j: j.value) (filter (j: j.ok) list);
  # The same of a list of plain values, each with its place.
  valuesOf = pointer: list:
    if list == null then [ ]
    else concatLists (genList
      (i: let j = elemAt list i; in if j.ok then [ { inherit (j) value; pointer = "${pointer}/${toString i}"; } ] else [ ])
      (length list));
  # What can be used of a map: [{ name, node }].
  membersOf = members:
    if members == null then [ ]
    else concatMap (name: if members.${name}.ok then [ { inherit name; node = members.${name}.value; } ] else [ ]) (attrNames members);
  only = condition: errors: if condition then errors else [ ];
  sum = foldl' (a: b: a + b) 0;
  last = list: elemAt list (length list - 1);
  find = name: list: let found = filter (x: x.name == name) list; in if found == [ ] then null else head found;
  startsWith = prefix: text: substring 0 (stringLength prefix) text == prefix;
  endsWith = suffix: text:
    let n = stringLength text; m = stringLength suffix; in n >= m && substring (n - m) m text == suffix;
  # Texts between the separators, which is one character.
  cut = separator: text: filter isString (builtins.split separator text);

  # A name that is not among those there are.
  noSuch = pointer: kind: wanted: names:
    error pointer "no ${kind} \"${wanted}\" (${
      if names == [ ] then "there is none"
      else if length names > 5 then "there are ${toString (length names)} others"
      else "there ${if length names == 1 then "is" else "are"}: ${concatStringsSep ", " names}"
    })";

  # Names that are there before, of elements of a list: what is said of the second.
  twice = list: says:
    concatLists (genList
      (i:
        let
          one = elemAt list i;
          name = get one "name";
          before = map (k: get (elemAt list k) "name") (genList (k: k) i);
        in
        only (name != null && elem name before) [ (error (at one "name") (says name)) ])
      (length list));

  defaults = get root "defaults";
  setting = vm: key:
    let owner = if has vm key then vm else if has defaults key then defaults else null;
    in if owner == null || get owner key == null then null else { value = get owner key; pointer = at owner key; };

  # --- engine -------------------------------------------------------------------------------------------------------------

  engineSaid = get root "engine";
  engineObject = if isAttrs engineSaid then engineSaid else null;
  engine = if isString engineSaid then engineSaid else get engineObject "name";
  libvirt = engine == "libvirt";
  uriErrors =
    let
      uri = or' (get engineObject "uri") "qemu:///session";
      parts = match "qemu(\\+[^:/?#]*)?:(//([^/?#]*))?([^?#]*)(\\?[^#]*)?(#.*)?" uri;
      path = elemAt parts 3;
      fault =
        if parts == null then "must begin with \"qemu:\": of libvirt's drivers a lab runs on QEMU's alone"
        else if path != "/system" && path != "/session" then "must end in /session or /system: as in \"qemu:///session\""
        else null;
    in
    only (fault != null) [ (error (at engineObject "uri") "\"${uri}\": ${fault}") ];
  engineErrors =
    if engine == null then [ ]
    else if libvirt then uriErrors
    else concatMap
      (key: only (get engineObject key != null) [ (error (at engineObject key) "only \"libvirt\" has a \"${key}\"") ])
      [ "uri" "user" ];

  # --- what links do ------------------------------------------------------------------------------------------------------

  # Good numbers of an impairment, by the table's keys.
  numbersOf = kind: object:
    let
      keys = objects.${kind}.keys;
      number = key:
        let value = object.members.${key}.value;
        in if isAttrs value && value ? members then numbersOf keys.${key}.object value else value;
    in
    if object == null then { }
    else listToAttrs (map (key: { name = key; value = number key; })
      (filter (key: hasAttr key keys && object.members.${key}.ok) (attrNames object.members)));
  merge = a: b:
    a // b // mapAttrs (key: value: if isAttrs value && a ? ${key} && isAttrs a.${key} then merge a.${key} value else value) b;
  amount = numbers: key: numbers.${key} or 0;

  markovFault = m:
    if amount m "p13" + amount m "p14" > 1000000000 then "markov: p13 and p14 are more than 100% together"
    else if amount m "p31" + amount m "p32" > 1000000000 then "markov: p31 and p32 are more than 100% together"
    else null;
  slotFault = s:
    if (s ? min || s ? max) && (s ? delay || s ? jitter || s ? distribution) then
      "slot: either min and max, or delay, jitter and distribution"
    else if s ? max && s.max < amount s "min" then "slot: max is less than min"
    else if amount s "min" + amount s "max" + amount s "delay" == 0 then "slot: needs min, or delay"
    else null;
  impairFault = numbers: all:
    let
      kinds = length (filter (there: there) [ (amount numbers "loss" > 0) (numbers ? gemodel) (numbers ? markov) ]);
      faults = filter (fault: fault != null) [
        (if numbers ? markov then markovFault numbers.markov else null)
        (if numbers ? slot then slotFault numbers.slot else null)
        (if all && (amount numbers "reorder" > 0 || amount numbers "gap" > 0) && amount numbers "delay" == 0 then
          "reorder and gap need a delay: a frame can only overtake others that are delayed"
        else null)
      ];
    in
    if kinds > 1 then "one of loss, gemodel and markov at a time" else if faults == [ ] then null else head faults;

  builtIn = [ "default" "constrained" "lossy" "wan" "satellite" "wifi" ];
  profilesSaid = membersOf (get root "profiles");
  profilesOwn = map (p: { inherit (p) name; numbers = numbersOf "profile" p.node; }) (filter (p: !(elem p.name builtIn)) profilesSaid);
  profileErrors = concatMap
    (p:
      let fault = impairFault (numbersOf "profile" p.node) true;
      in
      if elem p.name builtIn then [ (error p.node.pointer "\"${p.name}\" is built in: choose another name") ]
      else only (fault != null) [ (error p.node.pointer fault) ])
    profilesSaid;
  profileNames = builtIn ++ map (p: p.name) profilesOwn;

  policies = membersOf (get root "qos");
  policyErrors = concatMap
    (p:
      let
        list = get p.node "classes";
        classes = map (j: j.value) (filter (j: j.ok) (or' list [ ]));
        rate = get p.node "rate";
        ceiling = class:
          only (get class "ceil" != null && get class "ceil" < or' (get class "rate") 0) [ (error (at class "ceil") "is less than the class's rate") ];
      in
      only (list == [ ]) [ (error (at p.node "classes") "must not be empty") ]
      ++ twice classes (name: "a class called \"${name}\" is there already")
      ++ concatMap ceiling classes
      ++ only (rate != null && sum (map (class: or' (get class "rate") 0) classes) > rate) [
        (error (at p.node "classes") "the rates of the classes are more than the policy's")
      ])
    policies;
  policyNames = map (p: p.name) policies;

  directions = [ "to-guest" "from-guest" ];

  # One name, or one for each direction: [{ value, pointer } or null].
  namesOf = node: key:
    let said = get node key;
    in map
      (d:
        if isString said then { value = said; pointer = at node key; }
        else if get said d != null then { value = get said d; pointer = at said d; }
        else null)
      directions;
  unknownNames = node: key: kind: names:
    let
      said = namesOf node key;
      each = if isString (get node key) then [ (head said) ] else said;
    in
    concatMap (n: only (n != null && !(elem n.value names)) [ (noSuch n.pointer kind n.value names) ]) each;

  oneWay = impair: d:
    merge (numbersOf "impairment" impair) (numbersOf "impairment" (get impair d));

  impairErrors = node:
    let
      impair = get node "impair";
      way = i:
        let
          d = elemAt directions i;
          said = elemAt (namesOf node "profile") i;
          name = if said != null && elem said.value profileNames then said.value else null;
          own = if name == null then null else find name profilesOwn;
          numbers = oneWay impair d;
        in
        if own == null then impairFault numbers (name == null || name == "default")
        else impairFault (merge own.numbers numbers) true;
      faults = [ (way 0) (way 1) ];
      told = filter (fault: fault != null) (if head faults == last faults then [ (head faults) ] else faults);
    in
    unknownNames node "profile" "profile" profileNames
    ++ only (impair != null) (map (error (at node "impair")) told);

  timelineErrors = node:
    let
      list = get node "timeline";
      repeat = or' (get node "timeline-repeat") 0;
      moments = or' list [ ];
      # Those that are no moments say no time, and so does one whose time is bad.
      time = j: if j.ok then or' (get j.value "at") 0 else 0;
      said = j: j.ok && get j.value "at" != null;
      before = i:
        let earlier = filter said (genList (k: elemAt moments k) i);
        in if earlier == [ ] then 0 else time (last earlier);
      moment = i:
        let
          j = elemAt moments i;
          set = if j.ok then get j.value "set" else null;
          fault = if set == null then null else impairFault (oneWay set "to-guest") false;
        in
        only (fault != null) [ (error (at j.value "set") fault) ]
        ++ only (said j) (
          if time j < before i then [ (error (at j.value "at") "is before the one in front of it") ]
          else only (repeat > 0 && time j >= repeat) [ (error (at j.value "at") "is not before \"timeline-repeat\"") ]);
    in
    only (has node "timeline-repeat" && !(has node "timeline")) [
      (error (at node "timeline-repeat") "means nothing without a \"timeline\"")
    ]
    ++ concatLists (genList moment (length moments));

  vlanErrors = node:
    let
      vlan = get node "vlan";
      n = length (filter (has vlan) [ "access" "tunnel" "trunk" ]);
    in
    if !(isAttrs vlan) then [ ]
    else if n != 1 then
      [ (error vlan.pointer "needs one of \"access\", \"tunnel\" and \"trunk\", has ${if n == 0 then "none" else "several"}") ]
    else only (has vlan "native" && !(has vlan "trunk")) [ (error (at vlan "native") "means nothing but on a trunk") ];

  # node: a NIC or an uplink.
  linkErrors = node:
    vlanErrors node ++ impairErrors node ++ timelineErrors node ++ unknownNames node "qos" "policy" policyNames;

  # --- networks and uplinks -----------------------------------------------------------------------------------------------

  networksSaid = get root "networks";
  networksKnown = !(has root "networks") || networksSaid != null;
  networkNodes =
    if !(has root "networks") then [ { name = "lan"; node = null; } ] else membersOf networksSaid;

  overlap = a: b:
    let block = if a.block > b.block then a.block else b.block; in a.subnet / block == b.subnet / block;
  subnetSaid = n: get n.node "subnet";
  givenSubnets = filter (n: subnetSaid n != null) networkNodes;
  overlapErrors = concatLists (genList
    (i:
      let
        n = elemAt givenSubnets i;
        before = filter (m: overlap (subnetSaid n) (subnetSaid m)) (genList (k: elemAt givenSubnets k) i);
      in
      only (before != [ ]) [ (error (at n.node "subnet") "overlaps the subnet of \"${(head before).name}\"") ])
    (length givenSubnets));

  # Those without a subnet are given the first of 192.168.{100..255,0..99}.0/24 that nobody has.
  remainder = a: b: a - b * (a / b);
  deal = taken:
    let
      offers = map (i: { subnet = 3232235520 + remainder (100 + i) 256 * 256; prefix = 24; block = 256; }) (genList (i: i) 256);
      free = filter (offer: filter (overlap offer) taken == [ ]) offers;
    in
    if free == [ ] then null else head free;
  dealt = foldl'
    (state: n:
      let offer = deal state.taken;
      in
      if subnetSaid n != null then state // { networks = state.networks ++ [ (n // { lan = subnetSaid n; }) ]; }
      else if has n.node "subnet" then state // { networks = state.networks ++ [ (n // { lan = null; }) ]; }
      else {
        taken = state.taken ++ only (offer != null) [ offer ];
        networks = state.networks ++ [ (n // { lan = offer; }) ];
        errors = state.errors ++ only (offer == null) [
          (error n.node.pointer "no subnet of 192.168.0.0/16 is left for it: name one")
        ];
      })
    { taken = map subnetSaid givenSubnets; networks = [ ]; errors = [ ]; }
    networkNodes;

  uplinkKeys = [
    { key = "forward"; types = [ "nat" ]; }
    { key = "domain"; types = [ "nat" ]; }
    { key = "restricted"; types = [ "nat" ]; }
    { key = "host-loopback"; types = [ "nat" ]; }
    { key = "ifname"; types = [ "tap" ]; needed = true; }
    { key = "create"; types = [ "tap" ]; }
    { key = "switch"; types = [ "vde" ]; needed = true; place = true; }
    { key = "switch-port"; types = [ "vde" ]; }
    { key = "socket-path"; types = [ "stream" ]; place = true; }
    { key = "address"; types = [ "stream" ]; }
    { key = "client"; types = [ "stream" ]; }
    { key = "local"; types = [ "dgram" "vxlan" ]; place = true; }
    { key = "remote"; types = [ "dgram" ]; needed = true; place = true; }
    { key = "vni"; types = [ "vxlan" ]; needed = true; }
    { key = "peers"; types = [ "vxlan" ]; needed = true; }
    { key = "underlay-mtu"; types = [ "vxlan" ]; }
  ];
  uplinkErrors = u:
    let
      type = get u "type";
      check = row:
        let mine = elem type row.types;
        in
        if has u row.key && !mine then [ (error (at u row.key) "means nothing to a ${type} uplink") ]
        else only (!(has u row.key) && mine && row.needed or false) [ (error u.pointer "a ${type} uplink needs \"${row.key}\"") ];
      place = row:
        let
          said = get u row.key;
          address = row.key != "socket-path" && (match "[^:]*:.*" said != null || match "[^/]*" said != null);
        in
        only (row.place or false && elem type row.types && said != null && !address && startsWith "/" said && stringLength said > 107) [
          (error (at u row.key) "the path is too long for a socket")
        ];
    in
    concatMap check uplinkKeys
    ++ only (type == "stream" && has u "socket-path" == has u "address") [
      (error u.pointer "a stream uplink needs one of \"socket-path\" and \"address\"")
    ]
    ++ only (type == "dgram" && !(has u "local")) [ (error u.pointer "a dgram uplink needs \"local\"") ]
    ++ concatMap place uplinkKeys;

  uplinksOf = n:
    let
      one = get n.node "uplink";
      all = only (one != null) [ one ] ++ objectsOf (get n.node "uplinks");
      typed = filter (u: get u "type" != null) all;
      port = i:
        let
          type = get (elemAt typed i) "type";
          same = 1 + length (filter (u: get u "type" == type) (genList (k: elemAt typed k) i));
        in
        if same == 1 then type else "${type}-${toString same}";
    in
    genList (i: { node = elemAt typed i; port = port i; type = get (elemAt typed i) "type"; }) (length typed);
  networks = map (n: n // { uplinks = uplinksOf n; }) dealt.networks;
  networkNamed = name: find name networks;
  networkNames = map (n: n.name) networks;

  # --- VMs and their NICs -------------------------------------------------------------------------------------------------

  imagesSaid = get root "images";
  imagesKnown = !(has root "images") || imagesSaid != null;
  imageNames = [ "tiny" ] ++ filter (name: name != "tiny") (map (i: i.name) (membersOf imagesSaid));
  imageErrors = map (i: error i.node.pointer "\"tiny\" is built in: choose another name") (filter (i: i.name == "tiny") (membersOf imagesSaid));
  imageNameErrors = object:
    let name = get object "image";
    in only (name != null && imagesKnown && !(elem name imageNames)) [ (noSuch (at object "image") "image" name imageNames) ];

  nicsOf = vm:
    let
      said = get vm.node "nics";
      nic = i: node: ok: {
        port = "${vm.name}.${toString i}";
        inherit node ok;
        pointer = "${at vm.node "nics"}/${toString i}";
      };
    in
    if !(has vm.node "nics") then
      only (networks != [ ]) [ { port = "${vm.name}.0"; node = null; ok = true; inherit (vm.node) pointer; } ]
    else genList (i: nic i (if (elemAt said i).ok then (elemAt said i).value else null) (elemAt said i).ok) (length (or' said [ ]));

  # { network } or { errors }.
  networkOf = nic:
    let name = get nic.node "network";
    in
    if !networksKnown || !nic.ok || (has nic.node "network" && name == null) then { network = null; errors = [ ]; }
    else if name != null then {
      network = networkNamed name;
      errors = only (networkNamed name == null) [ (noSuch (at nic.node "network") "network" name networkNames) ];
    }
    else if length networks == 1 then { network = head networks; errors = [ ]; }
    else {
      network = null;
      errors = [
        (error nic.pointer (
          if networks == [ ] then "the lab has no network to put this NIC on"
          else "the lab has ${toString (length networks)} networks: name one of them for each of its \"nics\""))
      ];
    };

  vms = map (vm: vm // { nics = map (nic: nic // networkOf nic) (nicsOf vm); }) (membersOf (get root "vms"));
  vmNames = map (vm: vm.name) vms;
  vmIndex = listToAttrs (map (vm: { inherit (vm) name; value = vm; }) vms);
  vmNamed = name: vmIndex.${name} or null;
  nics = concatMap (vm: vm.nics) vms;

  vmErrors = vm:
    let
      imageOwner = if has vm.node "image" then vm.node else if has defaults "image" then defaults else null;
      image = get imageOwner "image";
      tiny = imageOwner == null || image == "tiny";
      arch = let s = setting vm.node "arch"; in if s == null then "x86_64" else s.value;
    in
    only (vm.name == "localhost") [ (error vm.node.pointer "\"localhost\" is every guest's name for itself: choose another") ]
    ++ imageNameErrors vm.node
    ++ only (tiny && arch != "x86_64") [
      (error vm.node.pointer "the image \"tiny\" does not run on ${arch}: name one of your own")
    ];

  # --- addresses ----------------------------------------------------------------------------------------------------------

  ipFault = n: ip: pointer:
    let
      host = remainder ip n.lan.block;
      fault =
        if ip - host != n.lan.subnet then "is outside"
        else if host == 0 then "is the network address of"
        else if host == n.lan.block - 1 then "is the broadcast address of"
        else null;
    in
    only (fault != null) [
      (error pointer "${showIp ip} ${fault} ${showIp n.lan.subnet}/${toString n.lan.prefix}, the subnet of \"${n.name}\"")
    ];

  # Addresses that are said, or an uplink's own, in the order in which they are taken: { ip, owner, pointer or null }.
  uplinkClaims = n: u:
    let
      nat = u.type == "nat";
      claim = key: otherwise: owner:
        let
          said = get u.node key;
          ip = if said != null then said else otherwise;
          pointer = if said != null then at u.node key else null;
          faults = only (said != null && (nat || key == "gateway")) (ipFault n ip pointer);
        in
        { errors = faults; claims = only (nat && faults == [ ]) [ { inherit ip owner pointer; } ]; };
    in
    [
      (claim "gateway" (n.lan.subnet + 1) "the gateway of the network's uplink")
      (claim "dns" (n.lan.subnet + n.lan.block - 2) "the name server of the network's uplink")
    ];
  nicClaim = nic:
    let
      ip = get nic.node "ip";
      n = nic.network;
      faults = ipFault n ip (at nic.node "ip");
    in
    if ip == null || n == null || n.lan == null then { errors = [ ]; claims = [ ]; }
    else { errors = faults; claims = only (faults == [ ]) [ { inherit ip; owner = nic.port; pointer = at nic.node "ip"; } ]; };
  claims =
    concatMap (n: only (n.lan != null) (concatMap (uplinkClaims n) n.uplinks)) networks ++ map nicClaim nics;
  takenIps = foldl'
    (state: c:
      let key = toString c.ip;
      in
      if !(hasAttr key state.owners) then state // { owners = state.owners // { ${key} = c.owner; }; }
      else if c.pointer == null then state
      else state // { errors = state.errors ++ [ (error c.pointer "${showIp c.ip} is the address of ${state.owners.${key}} already") ]; })
    { owners = { }; errors = [ ]; }
    (concatMap (c: c.claims) claims);

  takenMacs = foldl'
    (state: nic:
      let mac = get nic.node "mac";
      in
      if mac == null then state
      else if !(hasAttr mac.key state.owners) then state // { owners = state.owners // { ${mac.key} = nic.port; }; }
      else state // {
        errors = state.errors ++ [ (error (at nic.node "mac") "${mac.said} is the MAC address of ${state.owners.${mac.key}} already") ];
      })
    { owners = { }; errors = [ ]; }
    nics;

  roomErrors = concatMap
    (n:
      let
        wanted = length (filter (nic: nic.network != null && nic.network.name == n.name) nics);
        room = n.lan.block - 2;
        taken = 2 * length (filter (u: u.type == "nat") n.uplinks);
        left = if taken > room then 0 else room - taken;
      in
      only (n.lan != null && wanted + taken > room) [
        (error (if n.node == null then "" else n.node.pointer)
          "the subnet of \"${n.name}\" is too small: ${toString wanted} NICs, ${toString left} addresses")
      ])
    networks;

  # --- order --------------------------------------------------------------------------------------------------------------

  afterOf = vm: valuesOf (at vm.node "after") (get vm.node "after");
  afterErrors = vm: concatMap
    (a:
      if vmNamed a.value == null then [ (noSuch a.pointer "VM" a.value vmNames) ]
      else only (a.value == vm.name) [ (error a.pointer "a VM cannot come after itself") ])
    (afterOf vm);
  edges = mapAttrs (name: vm: filter (a: a.value != name && vmNamed a.value != null) (afterOf vm)) vmIndex;
  placeOf = name: path:
    let found = filter (i: (elemAt path i).name == name) (genList (i: i) (length path)); in if found == [ ] then null else head found;
  cycle = path: start:
    let
      ring = genList (i: elemAt path (start + i)) (length path - start);
      shown = if length ring > 12 then genList (elemAt ring) 12 else ring;
      more = length ring - length shown;
    in
    error (head ring).edge "cycle: ${concatStringsSep "" (map (s: "${s.name} → ") shown)}${
      if more > 0 then "(${toString more} more) → " else ""
    }${(head ring).name}";
  walk = path: name: state:
    let
      follow = state: e:
        let
          here = path ++ [ { inherit name; edge = e.pointer; } ];
          place = placeOf e.value here;
        in
        if hasAttr e.value state.done then state
        else if place != null then state // { errors = state.errors ++ [ (cycle here place) ]; }
        else walk here e.value state;
      walked = foldl' follow state edges.${name};
    in
    walked // { done = walked.done // { ${name} = true; }; };
  orderErrors = (foldl' (state: name: if hasAttr name state.done then state else walk [ ] name state) { done = { }; errors = [ ]; } vmNames).errors;

  # --- links by name ------------------------------------------------------------------------------------------------------

  hint = names:
    if names == [ ] then "there is none"
    else if length names > 8 then "there are ${toString (length names)} others"
    else "there ${if length names == 1 then "is" else "are"}: ${concatStringsSep ", " names}";
  # The port of a network's link, or what is wrong with its name: { port, nic } or { fault }.
  findLink = within: text:
    let
      parts = match "([^.:]*)([.:])?(.*)" text;
      vm = vmNamed (elemAt parts 0);
      word = elemAt parts 0;
      nicWord = if elemAt parts 1 == "." then elemAt parts 2 else null;
      netWord = if elemAt parts 1 == ":" then elemAt parts 2 else null;
      on = if netWord == null then within else networkNamed netWord;
      first = networkNamed word;
      uplink = n: name: let found = filter (u: u.port == name) n.uplinks; in if found == [ ] then null else head found;
      noNic = what: {
        fault =
          if vm.nics == [ ] then "VM ${vm.name} has no NIC"
          else "VM ${vm.name} has ${what}: ${concatStringsSep ", "
            (map (nic: "${nic.port} (${if nic.network == null then "?" else nic.network.name})") vm.nics)}";
      };
      pick = found: what: if found == [ ] then noNic what else { inherit (head found) port; nic = head found; };
      there = filter (nic: nic.network != null && nic.network.name == on.name) vm.nics;
    in
    if vm == null && nicWord == null && netWord == null && uplink within word != null then { port = word; nic = null; }
    else if vm == null && first != null && netWord != null && uplink first netWord != null then { port = netWord; nic = null; }
    else if vm == null then
      { fault = "no VM \"${word}\" (${hint (vmNames ++ map (u: u.port) within.uplinks)})"; }
    else if netWord != null && (on == null || on.name != within.name) then noNic "no NIC there"
    else if nicWord != null then
      pick (filter (nic: nic.port == "${vm.name}.${nicWord}" && nic.network != null && nic.network.name == within.name) vm.nics) "no such NIC"
    else if length there == 1 then pick there ""
    else noNic (if there == [ ] then "no NIC there" else "several NICs, name one of them");
  linkFault = n: pointer: text:
    let found = findLink n text; in only (found ? fault) [ (error pointer found.fault) ];
  linkKey = n: node: key:
    let text = get node key; in only (text != null) (linkFault n (at node key) text);
  linkList = n: node: key: concatMap (l: linkFault n l.pointer l.value) (valuesOf (at node key) (get node key));

  # --- duties of networks -------------------------------------------------------------------------------------------------

  mirrorErrors = n: m:
    let
      to = if get m "to" == null then null else (findLink n (get m "to")).port or null;
      self = l: let found = findLink n l.value; in only (to != null && found.port or null == to) [ (error l.pointer "cannot be shown to itself") ];
    in
    linkKey n m "to" ++ concatMap self (valuesOf (at m "from") (get m "from")) ++ linkList n m "from";
  ruleErrors = n: r:
    let
      fault = impairFault (numbersOf "impairment" r) true;
      says = filter (has r) (attrNames objects.impairment.keys);
    in
    only (fault != null) [ (error r.pointer fault) ]
    ++ only (says == [ ]) [ (error r.pointer "does nothing: say what, as in \"loss\": \"2%\"") ]
    ++ linkKey n r "in"
    ++ linkKey n r "out";
  captureErrors = n: c:
    linkList n c "links"
    ++ only (has c "files" && !(has c "rotate")) [ (error (at c "files") "means nothing without \"rotate\"") ];

  number = text: low: high:
    let value = if stringLength text > 0 && stringLength text <= 18 && match "[0-9]+" text != null then
      fromJSON (head (match "0*([0-9]+)" text)) else null;
    in if value != null && value >= low && value <= high then value else null;
  isIp = text: readIp text != null;

  # What a forward of NAT listens on, or what is wrong with it.
  natForward = n: text:
    let
      part = cut ":" text;
      p = elemAt part;
      fault =
        if !(elem (p 0) [ "tcp" "udp" ]) then "the protocol is tcp or udp"
        else if !(isIp (p 1)) then "the host's address has to be an IPv4 address"
        else if number (p 2) 1 65535 == null || number (p 4) 1 65535 == null then "a port is 1 to 65535"
        else if (findLink n (p 3)) ? fault then (findLink n (p 3)).fault
        else if (findLink n (p 3)).nic == null then "its guest is a VM"
        else null;
    in
    if length part != 5 then
      { fault = "a forward is written PROTOCOL:ADDRESS:PORT:VM:PORT, as in \"tcp:127.0.0.1:2222:n1:22\""; }
    else if fault != null then { inherit fault; }
    else { key = "${p 0}:${p 1}:${toString (number (p 2) 1 65535)}"; };
  forwardErrors = items:
    (foldl'
      (state: item:
        if item.parsed ? fault then
          state // { errors = state.errors ++ [ (error item.pointer "${quote item.text}: ${item.parsed.fault}") ]; }
        else if item.parsed ? taken then state // { errors = state.errors ++ [ (error item.pointer item.parsed.taken) ]; }
        else if elem item.parsed.key state.keys then
          state // { errors = state.errors ++ [ (error item.pointer "${item.parsed.key} is forwarded already") ]; }
        else state // { keys = state.keys ++ [ item.parsed.key ]; })
      { keys = [ ]; errors = [ ]; }
      items).errors;
  natForwards = concatMap
    (n: concatMap
      (u: only (u.type == "nat" || get u.node "forward" != null)
        (map (f: { inherit (f) pointer; text = f.value; parsed = natForward n f.value; }) (valuesOf (at u.node "forward") (get u.node "forward"))))
      n.uplinks)
    networks;

  networkErrors = n:
    let
      list = key: objectsOf (get n.node key);
      duties = kind: key: check:
        concatMap (check n) (list key) ++ twice (list key) (name: "a ${kind} called \"${name}\" is there already");
    in
    concatMap (u: uplinkErrors u.node ++ linkErrors u.node) n.uplinks
    ++ duties "mirror" "mirrors" mirrorErrors
    ++ duties "rule" "rules" ruleErrors
    ++ duties "capture" "captures" captureErrors;

  # --- sockets ------------------------------------------------------------------------------------------------------------

  portBase = or' (get root "port-base") 50000;
  agentPort = port: port >= portBase && port < portBase + 6;

  # A setting that several VMs have of the defaults is faulted once, and then it is as if it were not there.
  kinds = foldl'
    (state: vm:
      let
        live = key:
          let s = setting vm.node key; in if s == null || elem s.pointer state.faulted then null else s;
        sockets = setting vm.node "sockets";
        qemu = live "qemu";
        arch = let s = setting vm.node "arch"; in if s == null then "x86_64" else s.value;
        kind = if sockets == null then "vsock" else sockets.value;
        # Said once, where it is said.
        qemuFault = only (qemu != null && !(elem qemu.value [ "host" "patched" ]) && match "[^/]*" qemu.value != null) [
          (error qemu.pointer "none of \"host\", \"patched\" and a path, which has a '/'")
        ];
        useless = keys: text: concatMap (key: only (has vm.node key) [ (error (at vm.node key) text) ]) keys;
        cid = get vm.node "cid";
        cidKey = toString cid;
      in
      {
        faulted = state.faulted ++ map (e: e.pointer) qemuFault;
        kinds = state.kinds // { ${vm.name} = kind; };
        cids = if cid == null || hasAttr cidKey state.cids then state.cids else state.cids // { ${cidKey} = vm.name; };
        errors = state.errors
          ++ only (kind == "hvsock") (
            only (arch != "x86_64") [ (error vm.node.pointer "\"sockets\": \"hvsock\" is Hyper-V's, which ${arch} has not") ]
            ++ useless [ "cid" "peers" ] "has no use with \"sockets\": \"hvsock\": such a VM reaches the host alone")
          ++ only (kind == "none") (
            useless [ "peers" "probes" "distros" "forwards" "portals" ] "has no use without sockets (\"sockets\": \"none\")")
          ++ qemuFault
          ++ only (cid != null && hasAttr cidKey state.cids) [
            (error (at vm.node "cid") "${cidKey} is the CID of ${state.cids.${cidKey}} already")
          ];
      })
    { faulted = [ ]; kinds = { }; cids = { }; errors = [ ]; }
    vms;
  socketsOf = name: kinds.kinds.${name};

  peerErrors = vm: concatMap
    (p:
      if vmNamed p.value == null then [ (noSuch p.pointer "VM" p.value vmNames) ]
      else only (socketsOf p.value == "hvsock") [ (error p.pointer "${p.value} has \"hvsock\": it reaches the host alone") ])
    (valuesOf (at vm.node "peers") (get vm.node "peers"));

  probeErrors = vm:
    let
      probes = objectsOf (get vm.node "probes");
      subjects = p: filter (has p) [ "port" "file" "command" ];
      check = p:
        let n = length (subjects p); file = get p "file";
        in
        if n != 1 then [ (error p.pointer "needs one of \"port\", \"file\" and \"command\", has ${if n == 0 then "none" else "several"}") ]
        else only (file != null && !(startsWith "/" file)) [ (error (at p "file") "is a path of the guest: begin it with '/'") ];
    in
    concatMap check probes ++ twice probes (name: "a probe called \"${name}\" is there already");

  distroErrors = vm: concatMap
    (d: only (stringLength d.name > 20) [
      (error d.node.pointer "is too long for the name of a distribution: its disk's serial number has 20 bytes")
    ])
    (membersOf (get vm.node "distros"));

  hostFault = host:
    let part = cut ":" host; p = elemAt part;
    in
    if startsWith "unix:" host then
      if !(startsWith "unix:/" host) then "the path after \"unix:\" has to be absolute"
      else if stringLength host > 112 then "the path is too long for a socket"
      else null
    else if length part != 3 || p 0 != "tcp" then "the host's end is \"tcp:ADDRESS:PORT\" or \"unix:/PATH\""
    else if !(isIp (p 1)) then "the address after \"tcp:\" has to be an IPv4 address"
    else if number (p 2) 1 65535 == null || startsWith "0" (p 2) then "a TCP port is 1 to 65535"
    else null;
  socketForward = vm: text:
    let
      toGuest = match "[0-9].*" text == null;
      parts = if toGuest then match "(.*):([^:]*)" text else match "([^:]*):(.*)" text;
      host = elemAt parts (if toGuest then 0 else 1);
      digits = elemAt parts (if toGuest then 1 else 0);
      port = if startsWith "0" digits then null else number digits 1 4294967294;
    in
    if parts == null then { fault = "a forward is written HOST:PORT or PORT:HOST, as in \"tcp:127.0.0.1:2222:22\""; }
    else if port == null then { fault = "the guest's end is a port number: 1 to 4294967294"; }
    else if hostFault host != null then { fault = hostFault host; }
    else if !toGuest && agentPort port then
      { taken = "ports ${toString portBase} to ${toString (portBase + 5)} belong to the agent"; inherit port; }
    else if toGuest then { key = host; }
    else { key = "port ${toString port} of VM ${vm.name}"; inherit port; };
  forwardsOf = vm:
    map (f: { inherit (f) pointer; text = f.value; parsed = socketForward vm f.value; }) (valuesOf (at vm.node "forwards") (get vm.node "forwards"));

  testErrors =
    let
      tests = objectsOf (get root "tests");
      check = t:
        let name = get t "vm";
        in
        if name == null then [ ]
        else if vmNamed name == null then [ (noSuch (at t "vm") "VM" name vmNames) ]
        else only (socketsOf name == "none") [ (error (at t "vm") "VM ${name} has no sockets, so no command can be run in it") ];
    in
    concatMap check tests ++ twice tests (name: "a test called \"${name}\" is there already");

  # --- portals ------------------------------------------------------------------------------------------------------------

  portalsSaid = get root "portals";
  portalsKnown = !(has root "portals") || portalsSaid != null;
  portals = membersOf portalsSaid;
  portalNames = map (p: p.name) portals;
  unit = 2097152;
  unitErrors = node: key:
    let value = get node key; in only (value != null && remainder value unit != 0) [ (error (at node key) "has to be a multiple of 2 MiB") ];
  portalSize = p: or' (get p.node "size") 67108864;

  portalErrors = concatMap
    (p:
      only (stringLength p.name > 31) [ (error p.node.pointer "is too long for the name of a portal: 31 bytes are allowed") ]
      ++ unitErrors p.node "size")
    portals;
  # As far as it can be told without knowing where the lab file is.
  canonical = path:
    let
      steps = filter (s: s != "" && s != ".") (cut "/" path);
      walked = foldl' (done: s: if s == ".." && done != [ ] && last done != ".." then genList (elemAt done) (length done - 1) else done ++ [ s ]) [ ] steps;
    in
    "${if startsWith "/" path then "/" else ""}${concatStringsSep "/" walked}";
  fileErrors = (foldl'
    (state: p:
      let file = if get p.node "file" == null then null else canonical (get p.node "file");
      in
      if file == null then state
      else if hasAttr file state.owners then
        state // { errors = state.errors ++ [ (error (at p.node "file") "is the file of portal ${state.owners.${file}} already") ]; }
      else state // { owners = state.owners // { ${file} = p.name; }; })
    { owners = { }; errors = [ ]; }
    portals).errors;

  # Ports on which VMs reach the host by forwards: [{ port, vm }].
  forwardedPorts = concatMap
    (vm: concatMap (f: only (f.parsed ? port) [ { inherit (f.parsed) port; vm = vm.name; } ]) (forwardsOf vm))
    vms;
  portErrors = (foldl'
    (state: p:
      let
        port = get p.node "port";
        forwarded = filter (f: f.port == port) forwardedPorts;
        owned = filter (o: o.port == port) state.owned;
        owner =
          if port == null then null
          else if agentPort port then "of the agent"
          else if owned != [ ] then "of portal ${(head owned).name}"
          else if forwarded != [ ] then "of a forward of VM ${(head forwarded).vm}"
          else null;
      in
      if port == null then state
      else if owner != null then state // { errors = state.errors ++ [ (error (at p.node "port") "${toString port} is a port ${owner}") ]; }
      else state // { owned = state.owned ++ [ { inherit port; inherit (p) name; } ]; })
    { owned = [ ]; errors = [ ]; }
    portals).errors;

  # What a VM has of portals: [{ name, pointer, node or null }].
  accessesOf = vm:
    let list = get vm.node "portals";
    in
    if isList list then map (a: { name = a.value; inherit (a) pointer; node = null; }) (valuesOf (at vm.node "portals") list)
    else map (a: { inherit (a) name node; inherit (a.node) pointer; }) (membersOf list);
  accessErrors = vm:
    let
      check = a:
        let
          portal = find a.name portals;
          door = or' (get a.node "door") "pmem";
          readonly = get a.node "mode" == "ro";
          bytes = portalSize portal;
        in
        if portal == null then only portalsKnown [ (noSuch a.pointer "portal" a.name portalNames) ]
        else
          only (stringLength vm.name > 31) [ (error a.pointer "the VM's name is too long for a portal: 31 bytes are allowed") ]
          ++ only (a.node != null) (
            unitErrors a.node "quota"
            ++ only (get a.node "quota" != null && readonly) [ (error (at a.node "quota") "has no use: who only reads is granted nothing") ]
            ++ only (door == "ivshmem" && bitAnd bytes (bytes - 1) != 0) [
              (error (at a.node "door") "needs a portal whose size is a power of two, as that of a PCI BAR is")
            ]
            ++ only (door == "ivshmem" && readonly) [ (error (at a.node "mode") "\"ivshmem\" has no read-only side: take the door \"pmem\"") ]);
    in
    only (socketsOf vm.name != "none") (concatMap check (accessesOf vm));
  crowdErrors = concatMap
    (p:
      let users = concatMap (vm: only (socketsOf vm.name != "none") (filter (a: a.name == p.name) (accessesOf vm))) vms;
      in only (length users > 127) [ (error (elemAt users 127).pointer "portal ${p.name} has more than 127 VMs") ])
    portals;
in
engineErrors
++ profileErrors
++ policyErrors
++ overlapErrors
++ dealt.errors
++ concatMap networkErrors networks
++ imageErrors
++ imageNameErrors defaults
++ concatMap vmErrors vms
++ concatMap (nic: nic.errors ++ (if nic.node == null then [ ] else linkErrors nic.node)) nics
++ concatMap (c: c.errors) claims
++ takenIps.errors
++ takenMacs.errors
++ roomErrors
++ concatMap afterErrors vms
++ orderErrors
++ forwardErrors natForwards
++ kinds.errors
++ concatMap (vm: peerErrors vm ++ probeErrors vm ++ distroErrors vm) vms
++ forwardErrors (concatMap forwardsOf vms)
++ testErrors
++ portalErrors
++ fileErrors
++ portErrors
++ concatMap accessErrors vms
++ crowdErrors
