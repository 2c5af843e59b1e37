// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// scalar returns the text of a single value, or reports that n is none.
// instead says what to write.
func (d *decoder) scalar(n *yaml.Node, path, instead string) (string, bool) {
	if !d.plain(n, path) {
		return "", false
	}
	if n.Kind != yaml.ScalarNode {
		d.refuseValue(n, path, "wants a single value, not "+kindName(n), instead)
		return "", false
	}
	return n.Value, true
}

// str is scalar for text: what YAML reads as a number or a boolean must be in
// quotes, because readers disagree on what it says.
func (d *decoder) str(n *yaml.Node, path, instead string) (string, bool) {
	s, ok := d.scalar(n, path, instead)
	switch {
	case !ok:
		return "", false
	case n.ShortTag() != "!!str":
		d.refuseValue(n, path, "YAML reads this as "+tagNames[n.ShortTag()]+", not as text", "put it in quotes")
		return "", false
	case s == "":
		d.refuseValue(n, path, "the text is empty", instead)
		return "", false
	case strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }):
		d.refuseValue(n, path, "the text has a line break or control character", instead)
		return "", false
	}
	return s, true
}

var tagNames = map[string]string{
	"!!int": "a number", "!!float": "a number", "!!bool": "true or false",
	"!!timestamp": "a date", "!!binary": "binary data", "!!merge": "a merge key",
}

// text is a string that check accepts.
type text struct {
	into    *string
	what    string // "an absolute path"
	example string
	check   func(string) bool
	// secret values are never shown: a password may have been written where
	// the name of its file belongs.
	secret bool
}

func (k text) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write one such as " + k.example
	s, ok := d.str(n, path, instead)
	switch {
	case !ok:
	case k.check(s):
		*k.into = s
	case k.secret:
		d.refuseValue(n, path, "the value (not shown, it may be a secret) is not "+k.what, instead)
	default:
		d.refuseValue(n, path, shown(s)+" is not "+k.what, instead)
	}
}

func (k text) spec() string { return k.what }

func name(into *string, example string) text {
	return text{
		into: into, example: example, check: nameText.MatchString,
		what: "a name (1 to 63 letters, digits, dots, dashes and underscores; first a letter or digit)",
	}
}

func absolutePath(into *string, example string) text {
	return text{into: into, what: "an absolute path", example: example, check: path.IsAbs}
}

func secretFile(into *string, example string) text {
	k := absolutePath(into, example)
	k.secret = true
	return k
}

func secretEnv(into *string, example string) text {
	return text{
		into: into, what: "the name of an environment variable", example: example,
		check: envText.MatchString, secret: true,
	}
}

func interfaceName(into *string) text {
	return text{
		into: into, what: "the name of an interface, 1 to 15 characters", example: "eth0",
		check: interfaceText.MatchString,
	}
}

var (
	nameText      = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	envText       = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	interfaceText = regexp.MustCompile(`^[^\s/:%.][^\s/:%]{0,14}$`)
	labelText     = regexp.MustCompile(`^[^\s/%]{1,15}$`)
	tableText     = regexp.MustCompile(`^[A-Za-z0-9_$]{1,64}\.[A-Za-z0-9_$]{1,64}$`)
	accountText   = regexp.MustCompile(`^[^\s'"\\{}@` + "`" + `]{1,80}$`)
)

func isAccount(s string) bool { return accountText.MatchString(s) }

// isAccountPattern accepts an account in which {node} may stand.
func isAccountPattern(s string) bool { return isAccount(strings.ReplaceAll(s, nodePlaceholder, "n")) }

// choice is one of several words.
type choice struct {
	into *string
	of   []string
}

func (k choice) decode(d *decoder, n *yaml.Node, path string) {
	s, ok := d.str(n, path, "write "+k.spec())
	switch {
	case !ok:
	case slices.Contains(k.of, s):
		*k.into = s
	default:
		instead := "write " + k.spec()
		if meant := nearest(s, k.of); meant != "" {
			instead = "did you mean " + meant + "?"
		}
		d.refuseValue(n, path, shown(s)+" is not one of the choices", instead)
	}
}

func (k choice) spec() string {
	last := len(k.of) - 1
	return strings.Join(k.of[:last], ", ") + " or " + k.of[last]
}

// boolean is true or false. YAML 1.1's yes, no, on and off are text to YAML
// 1.2, so they are refused rather than guessed.
type boolean struct{ into *bool }

func (k boolean) decode(d *decoder, n *yaml.Node, path string) {
	s, ok := d.scalar(n, path, "write true or false")
	if !ok {
		return
	}
	if n.Style == 0 && (s == "true" || s == "false") {
		*k.into = s == "true"
		return
	}
	instead := "write true or false"
	switch strings.ToLower(s) {
	case "y", "yes", "on", "1", "true":
		instead = "write true"
	case "n", "no", "off", "0", "false":
		instead = "write false"
	}
	d.refuseValue(n, path, shown(s)+" is neither true nor false", instead)
}

func (boolean) spec() string { return "true or false" }

// optionalBoolean is a boolean whose default depends on other keys.
type optionalBoolean struct{ into **bool }

func (k optionalBoolean) decode(d *decoder, n *yaml.Node, path string) {
	var b bool
	errs := len(d.errs)
	if (boolean{&b}).decode(d, n, path); len(d.errs) == errs {
		*k.into = &b
	}
}

func (optionalBoolean) spec() string { return boolean{}.spec() }

// list is a list of values of one kind.
type list[T any] struct {
	into     *[]T
	min, max int
	elem     func(*T) kind
}

func (k list[T]) decode(d *decoder, n *yaml.Node, path string) {
	if !d.plain(n, path) {
		return
	}
	if n.Kind != yaml.SequenceNode {
		d.refuseValue(n, path, "wants a list, not "+kindName(n), "write "+k.spec())
		return
	}
	if len(n.Content) < k.min || len(n.Content) > k.max {
		d.refuseValue(n, path, fmt.Sprintf("the list has %d entries", len(n.Content)), "write "+k.spec())
		return
	}
	values := make([]T, len(n.Content))
	for i, item := range n.Content {
		path := path + "[" + strconv.Itoa(i) + "]"
		d.positions[path] = at(item)
		k.elem(&values[i]).decode(d, item, path)
	}
	*k.into = values
}

func (k list[T]) spec() string {
	return fmt.Sprintf("a list of %d to %d, each %s", k.min, k.max, k.elem(new(T)).spec())
}

// argv is a program and its arguments.
type argv struct{ into *[]string }

const argvExample = "write a list: [/path/of/program, argument]"

func (k argv) decode(d *decoder, n *yaml.Node, path string) {
	if !d.plain(n, path) {
		return
	}
	if n.Kind != yaml.SequenceNode || len(n.Content) == 0 {
		d.refuseValue(n, path, "a program is a list of its absolute path and its arguments, and no shell reads it", argvExample)
		return
	}
	errs := len(d.errs)
	list[string]{into: k.into, min: 1, max: 64, elem: argument}.decode(d, n, path)
	if len(d.errs) > errs {
		return
	}
	if program := (*k.into)[0]; !strings.HasPrefix(program, "/") {
		d.refuseValue(n.Content[0], path+"[0]", shown(program)+" is not an absolute path", "write where the program is: nothing is searched in PATH")
	}
}

func (argv) spec() string { return "a list of a program's absolute path and its arguments" }

func argument(into *string) kind {
	return text{into: into, what: "an argument", example: argvExample, check: func(string) bool { return true }}
}
