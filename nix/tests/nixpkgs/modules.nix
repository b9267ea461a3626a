# SPDX-License-Identifier: MIT
# As much of NixOS's module system as our modules use, for where nixpkgs' own is not: options with types and defaults, imports, mkIf,
# mkMerge, mkDefault and mkForce.  What our modules come to has to be the same by both (../modules.json).
rec {
  mkOption = attrs: attrs // { _type = "option"; };
  mkEnableOption = what: mkOption { type = types.bool; default = false; };
  mkPackageOption = pkgs: name: _: mkOption { type = types.package; default = pkgs.${name}; };
  mkIf = condition: content: { _type = "if"; inherit condition content; };
  mkMerge = contents: { _type = "merge"; inherit contents; };
  mkOverride = priority: content: { _type = "override"; inherit priority content; };
  mkDefault = mkOverride 1000;
  mkForce = mkOverride 50;

  # --- types: what a value has to be, and what several come to ------------------------------------------------------------

  types =
    let
      inherit (builtins) all concatLists elem elemAt filter isAttrs isBool isFunction isInt isList isPath isString map match;
      is = description: check: {
        inherit check description;
        merge = loc: values: if all (v: v == builtins.head values) values then builtins.head values else conflict loc;
      };
      conflict = loc: throw "The option `${show loc}' has conflicting definition values";
      deep = loc: values:
        if builtins.length values == 1 then builtins.head values
        else if all isAttrs values then builtins.zipAttrsWith (name: deep (loc ++ [ name ])) values
        else if all isList values then concatLists values
        else (is "" (_: true)).merge loc values;
    in
    rec {
      str = is "string" isString;
      bool = is "boolean" isBool;
      int = is "signed integer" isInt;
      port = is "16 bit unsigned integer" (v: isInt v && v >= 0 && v <= 65535);
      ints.positive = is "positive integer" (v: isInt v && v > 0);
      ints.unsigned = is "unsigned integer" (v: isInt v && v >= 0);
      path = is "absolute path" (v: isPath v || (isString v && builtins.substring 0 1 v == "/") || (isAttrs v && v ? outPath));
      package = is "package" (v: isAttrs v && v ? outPath);
      raw = is "raw value" (_: true);
      anything = raw // { merge = deep; };
      lines = str // { merge = _: builtins.concatStringsSep "\n"; };
      strMatching = pattern: is "string matching the pattern ${pattern}" (v: isString v && match pattern v != null);
      enum = words: is "one of ${builtins.toJSON words}" (v: elem v words);
      nullOr = type: type // {
        description = "null or ${type.description}";
        check = v: v == null || type.check v;
        merge = loc: values: let given = filter (v: v != null) values; in if given == [ ] then null else type.merge loc given;
      };
      either = a: b: is "${a.description} or ${b.description}" (v: a.check v || b.check v) // {
        merge = loc: values: if all a.check values then a.merge loc values else b.merge loc values;
      };
      listOf = type: is "list of ${type.description}" isList // {
        merge = loc: values: map (v: one type loc [ v ]) (concatLists (map (v: if isList v then v else [ v ]) values));
      };
      attrsOf = type: is "attribute set of ${type.description}" isAttrs // {
        below = type;
        merge = loc: values: builtins.mapAttrs (_: v: v.value) (keep (builtins.zipAttrsWith (name: found type (loc ++ [ name ])) values));
      };
      submodule = module: is "submodule" (v: isAttrs v || isFunction v || isPath v) // {
        merge = loc: values: (evalBelow loc ([ module ] ++ map (v: { config = v; }) values)).config;
      };
    };
  show = builtins.concatStringsSep ".";
  keep = set: removeAttrs set (builtins.filter (name: !set.${name}.there) (builtins.attrNames set));

  # A value by its type.
  one = type: loc: values:
    let wrong = builtins.filter (v: !(type.check v)) values;
    in
    if wrong != [ ] then throw "A definition for option `${show loc}' is not of type `${type.description}'"
    else type.merge loc values;

  # Definitions without their conditions and ranks: [{ priority; value; }].
  definitions = priority: value:
    if builtins.isAttrs value && value ? _type then
      if value._type == "if" then (if value.condition then definitions priority value.content else [ ])
      else if value._type == "merge" then builtins.concatMap (definitions priority) value.contents
      else if value._type == "override" then definitions value.priority value.content
      else [ { inherit priority value; } ]
    else [ { inherit priority value; } ];
  # Those that count.
  found = type: loc: values:
    let
      all = builtins.concatMap (definitions 100) values;
      best = builtins.foldl' (least: d: if d.priority < least then d.priority else least) 10000 all;
      winners = map (d: d.value) (builtins.filter (d: d.priority == best) all);
    in
    { there = all != [ ]; value = one type loc winners; };

  # --- modules ------------------------------------------------------------------------------------------------------------

  # What a module's config says at the top, with conditions pushed down to the names below.
  push = wrap: config:
    if builtins.isAttrs config && config ? _type then
      if config._type == "if" then push (value: wrap (mkIf config.condition value)) config.content
      else if config._type == "merge" then builtins.concatMap (push wrap) config.contents
      else push (value: wrap (mkOverride config.priority value)) config.content
    else [ (builtins.mapAttrs (_: wrap) config) ];

  evalModules = { modules }: evalBelow [ ] modules;
  evalBelow = loc: modules:
    let
      arguments = { inherit config lib; options = declared; };
      lib = import ./lib.nix;
      load = module:
        let
          body = if builtins.isPath module || builtins.isString module then import module else module;
          # Only those that it names, so that what it imports does not hang on what it sets.
          named = builtins.mapAttrs (name: _: arguments.${name} or config._module.args.${name}) (builtins.functionArgs body);
          set = if builtins.isFunction body then body (arguments // named) else body;
          whole = set ? config || set ? options;
        in
        builtins.concatMap load (set.imports or [ ])
        ++ [ { options = set.options or { }; config = if whole then set.config or { } else removeAttrs set [ "imports" ]; } ];
      loaded = builtins.concatMap load modules;
      isOption = value: builtins.isAttrs value && value._type or "" == "option";
      together = declarations:
        if builtins.any isOption declarations then builtins.head (builtins.filter isOption declarations)
        else builtins.zipAttrsWith (_: together) declarations;
      declared = together (map (m: m.options) loaded);
      free = builtins.foldl' (type: module: if builtins.isAttrs module then module.freeformType or type else type) null modules;
      resolve = loc: options: values:
        if isOption options then
          let it = found options.type loc values;
          in
          if it.there then it.value
          else options.default or (throw "The option `${show loc}' was accessed but has no value defined")
        else
          let
            pieces = builtins.concatMap (push (v: v)) values;
            names = builtins.zipAttrsWith (_: v: v) pieces;
            unknown = builtins.filter (name: !(options ? ${name})) (builtins.attrNames names);
            extra = builtins.mapAttrs (_: v: v.value) (keep (builtins.listToAttrs
              (map (name: { inherit name; value = found free.below (loc ++ [ name ]) names.${name}; }) unknown)));
          in
          if unknown != [ ] && free == null then throw "The option `${show (loc ++ [ (builtins.head unknown) ])}' does not exist"
          else builtins.mapAttrs (name: below: resolve (loc ++ [ name ]) below (names.${name} or [ ])) options
            // (if free == null then { } else extra);
      own = config: if config ? _type then config else removeAttrs config [ "_module" ];
      config = resolve loc declared (map (m: own m.config) loaded) // {
        _module.args = builtins.foldl' (a: m: a // (m.config._module.args or { })) { } (builtins.filter (m: !(m.config ? _type)) loaded);
      };
    in
    { inherit config; options = declared; _module.args = config._module.args; };
}
