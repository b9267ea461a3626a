# SPDX-License-Identifier: MIT
# A lab as an attribute set, judged as `orchestrator validate` would judge its file.
#
#   errors lab   [{ pointer; text; }], empty for a lab that is right
#   check lab    the same lab; evaluation ends with all mistakes if there are any
#   toJSON lab   what lab.json says
#
# Paths and packages may stand where the file has texts.  A set of attributes has no order: machines and networks come in that of
# their names, and are given addresses so.  Nothing here needs nixpkgs.
let
  inherit (builtins) concatStringsSep isAttrs isFunction isList isPath length map mapAttrs toJSON;
  fields = import ./fields.nix;
  rules = import ./rules.nix fields;

  plain = value:
    if isPath value || (isAttrs value && (value ? outPath || value ? __toString)) then "${value}"
    else if isAttrs value then mapAttrs (_: plain) value
    else if isList value then map plain value
    else if isFunction value then throw "a lab has no functions in it"
    else value;

  errors = lab:
    let judged = fields.judge (plain lab);
    in judged.errors ++ (if judged.ok then rules judged else [ ]);

  line = e: "  ${if e.pointer == "" then "" else "${e.pointer}: "}${e.text}";
  check = lab:
    let found = errors lab;
    in
    if found == [ ] then plain lab
    else throw "this is no lab, for ${
      if length found == 1 then "a mistake" else "${toString (length found)} mistakes"
    }:\n${concatStringsSep "\n" (map line found)}";
in
{
  inherit check errors;
  inherit (fields) objects;
  toJSON = lab: toJSON (check lab);
}
