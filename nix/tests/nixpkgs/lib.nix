# SPDX-License-Identifier: MIT
# As much of nixpkgs' lib as our expressions use: they are evaluated with the real one, too, where it is.
let
  modules = import ./modules.nix;
  inherit (builtins)
    attrNames concatLists concatStringsSep elemAt filter genList hasAttr head isString length listToAttrs map mapAttrs split
    stringLength substring;
in
rec {
  inherit (builtins)
    all any attrNames attrValues concatLists concatMap concatStringsSep elem elemAt filter hasAttr head isAttrs length listToAttrs map mapAttrs;
  inherit (modules) evalModules mkDefault mkEnableOption mkForce mkIf mkMerge mkOption mkPackageOption types;
  count = f: list: length (filter f list);
  last = list: elemAt list (length list - 1);
  assertMsg = condition: text: if condition then true else throw text;
  genAttrs = names: f: listToAttrs (map (name: nameValuePair name (f name)) names);
  nameValuePair = name: value: { inherit name value; };
  mapAttrs' = f: set: listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: list: if condition then list else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  concatStrings = concatStringsSep "";
  concatMapStrings = f: list: concatStrings (map f list);
  concatMapStringsSep = separator: f: list: concatStringsSep separator (map f list);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  removeSuffix = suffix: text:
    let n = stringLength text - stringLength suffix; in if n >= 0 && substring n (-1) text == suffix then substring 0 n text else text;
  splitString = separator: text: filter isString (split separator text);
  findFirst = f: otherwise: list: let found = filter f list; in if found == [ ] then otherwise else head found;
  lists.findFirstIndex = f: otherwise: list:
    let found = filter (i: f (elemAt list i)) (genList (i: i) (length list)); in if found == [ ] then otherwise else head found;
  getDev = package: package.dev or package;
  getExe = package: "${package}/bin/${package.name}";
  getOutput = output: package: package.${output} or package;
  makeBinPath = packages: concatMapStringsSep ":" (package: "${package}/bin") packages;
  mesonBool = name: value: "-D${name}=${if value then "true" else "false"}";
  fileset = {
    unions = list: list;
    toSource = { root, fileset }: if filter (path: !(builtins.pathExists path)) fileset == [ ] then toString root else throw "a path that is not there";
  };
  kernel = { yes = "y"; no = "n"; module = "m"; };
  licenses.mit = "MIT";
  trivial.release = "26.11";
}
