// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// kind is one way to write a value, bound to the field it sets.
type kind interface {
	// decode reads n, the value at path, into the field, or reports to d.
	decode(d *decoder, n *yaml.Node, path string)
	// spec says what may be written, with unit and range.
	spec() string
}

// key is one key of a mapping.
type key struct {
	name     string
	kind     kind
	required bool
	absent   string // what not writing it means, where [Default] does not say so
	refused  string // why this key is never accepted; then it has no kind
}

// mapping is the keys that may stand side by side.
type mapping []key

// decoder collects errors and positions while a tree is decoded.
type decoder struct {
	file      string
	root      mapping
	positions map[string]position
	errs      Errors
	unread    []string // paths whose values are not known
}

// decode reads the tree into c. It returns what is wrong, and the paths whose
// values are not known because of that.
func (c *Config) decode(root *yaml.Node) (errs Errors, unread []string) {
	d := &decoder{file: c.File, root: c.keys(), positions: map[string]position{}}
	d.root.decode(d, root, "")
	c.positions = d.positions
	return d.errs, d.unread
}

// refuse reports what is written at p about the value of path.
func (d *decoder) refuse(p position, path, what, instead string) {
	d.unread = append(d.unread, path)
	d.report(p, path, what, instead)
}

func (d *decoder) report(p position, path, what, instead string) {
	d.errs = append(d.errs, Error{
		File: d.file, Line: p.line, Column: p.column,
		Path: path, What: what, Instead: instead,
	})
}

// refuseValue is refuse at the place of n.
func (d *decoder) refuseValue(n *yaml.Node, path, what, instead string) {
	d.refuse(at(n), path, what, instead)
}

func at(n *yaml.Node) position { return position{n.Line, n.Column} }

// plain refuses what no key of ours needs and what lets a short file mean a
// long one: anchors, aliases and tags. It also refuses a missing value.
func (d *decoder) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode:
		d.refuseValue(n, path, "aliases (*name) are not accepted", "write the value itself")
	case n.Anchor != "":
		d.refuseValue(n, path, "anchors (&name) are not accepted", "remove it")
	case n.Style&yaml.TaggedStyle != 0:
		d.refuseValue(n, path, "tags (!name) are not accepted", "remove it")
	case n.ShortTag() == "!!null":
		d.refuseValue(n, path, "the key has no value", "write one, or remove the key for its default")
	default:
		return true
	}
	return false
}

func (m mapping) decode(d *decoder, n *yaml.Node, path string) {
	if !d.plain(n, path) {
		return
	}
	if n.Kind != yaml.MappingNode {
		d.refuseValue(n, path, "wants keys below it, not "+kindName(n), "write "+m.spec())
		return
	}
	seen := map[string]int{} // key to its line
	for i := 0; i+1 < len(n.Content); i += 2 {
		if name, ok := m.decodeKey(d, n.Content[i], n.Content[i+1], path, seen); ok {
			seen[name] = n.Content[i].Line
		}
	}
	for _, k := range m {
		if _, ok := seen[k.name]; !ok {
			k.missing(d, join(path, k.name))
		}
	}
}

// decodeKey reads one key and its value, and returns the key that it stands
// for: with a typing error in it, the one that was meant.
func (m mapping) decodeKey(d *decoder, kn, vn *yaml.Node, path string, seen map[string]int) (string, bool) {
	switch {
	case kn.Kind == yaml.ScalarNode && kn.ShortTag() == "!!merge":
		d.refuseValue(kn, path, "merge keys (<<) are not accepted", "write the keys themselves")
		return "", false
	case kn.Kind != yaml.ScalarNode:
		d.refuseValue(kn, path, "a key is "+kindName(kn), "write a name")
		return "", false
	case kn.Anchor != "" || kn.Style&yaml.TaggedStyle != 0:
		d.refuseValue(kn, path, "anchors (&name) and tags (!name) are not accepted", "write the key alone")
		return kn.Value, slices.Contains(m.names(), kn.Value)
	}
	name := kn.Value
	if line, ok := seen[name]; ok {
		d.refuseValue(kn, join(path, name), fmt.Sprintf("the key is already on line %d", line), "keep one of the two")
		return "", false
	}
	i := slices.IndexFunc(m, func(k key) bool { return k.name == name })
	if i < 0 {
		instead, meant := m.suggest(d.root, path, name)
		d.report(at(kn), path, "unknown key "+shownKey(name), instead)
		if meant == "" {
			return "", false
		}
		d.unread = append(d.unread, join(path, meant))
		return meant, true
	}
	k, path := m[i], join(path, name)
	if k.refused != "" {
		d.refuseValue(kn, path, "the key is not accepted", k.refused)
		return name, true
	}
	d.positions[path] = at(vn)
	if vn.Kind != yaml.ScalarNode { // its first value may be lines below
		d.positions[path] = at(kn)
	}
	k.kind.decode(d, vn, path)
	return name, true
}

// missing reports the required keys at or below path, which is not written.
func (k key) missing(d *decoder, path string) {
	if k.required {
		d.refuse(positionOf(d.positions, path), path, "the key is missing", "write it: "+k.kind.spec())
		return
	}
	if m, ok := k.kind.(mapping); ok {
		for _, k := range m {
			k.missing(d, join(path, k.name))
		}
	}
}

func (m mapping) spec() string { return "a mapping with the keys " + strings.Join(m.names(), ", ") }

// names returns the keys that may be written.
func (m mapping) names() []string {
	var names []string
	for _, k := range m {
		if k.refused == "" {
			names = append(names, k.name)
		}
	}
	return names
}

// each calls f for every key that may be written at or below path, except the
// mappings and lists of mappings themselves.
func (m mapping) each(path string, f func(path string, k key)) {
	for _, k := range m {
		path := join(path, k.name)
		switch v := k.kind.(type) {
		case nil: // refused
		case mapping:
			v.each(path, f)
		case nodeList:
			v.keys().each(path+"[]", f)
		case optionalTLS:
			new(TLS).keys(v.client).each(path, f)
		default:
			f(path, k)
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// shownKey quotes an unknown key up to what may be a value glued to it, such
// as a password.
func shownKey(name string) string {
	if i := strings.IndexAny(name, "=: "); i >= 0 {
		name = name[:i] + "…"
	}
	return shown(name)
}
