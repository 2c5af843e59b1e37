// SPDX-License-Identifier: Apache-2.0

package test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"testing"
)

// vocabularies are the types whose constants are words for people: log keys, metric labels,
// status lines.
var vocabularies = []struct{ dir, typ string }{
	{"election", "Code"},
	{"mysqlcheck", "Reason"},
	{"promote", "Reason"},
	{"promote", "DurabilityReason"},
	{"supervisor/raftlog", "Reason"},
	{"supervisor/voter", "Reason"},
}

// words returns the constants of a string type that a directory declares, by name.
func words(sources []source, dir, typ string) map[string]string {
	found := map[string]string{}
	for _, s := range sources {
		if s.dir != dir {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			id, ok := spec.Type.(*ast.Ident)
			if !ok || id.Name != typ {
				return true
			}
			for i, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					word, err := strconv.Unquote(lit.Value)
					if err != nil {
						panic(err) // the parser has read it
					}
					found[spec.Names[i].Name] = word
				}
			}
			return true
		})
	}
	return found
}

// TestReasonsAreDocumented holds docs/reasons.md to the code: a heading, and words below it,
// for each reason, and no heading for anything else.
func TestReasonsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile("(?m)^### `([a-z_]+)`\n+([^#\n][^\n]*)?")
	documented := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		if documented[m[1]] {
			t.Errorf("%s has two headings", m[1])
		}
		documented[m[1]] = true
		if len(m[2]) < 20 {
			t.Errorf("%s is not explained", m[1])
		}
	}
	sources, err := parseTree("..")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, v := range vocabularies {
		found := words(sources, v.dir, v.typ)
		if len(found) < 8 {
			t.Errorf("%s: only %d constants of type %s were found", v.dir, len(found), v.typ)
		}
		for name, word := range found {
			used[word] = true
			if !documented[word] {
				t.Errorf("%s.%s: docs/reasons.md has no heading for `%s`", v.dir, name, word)
			}
		}
	}
	for word := range documented {
		if !used[word] {
			t.Errorf("docs/reasons.md explains `%s`, which nothing says", word)
		}
	}
}

// TestPromoteReasonsAreCodes holds that the loop knows every reason for which nobody is chosen
// or a promotion fails: it passes them on as codes.
func TestPromoteReasonsAreCodes(t *testing.T) {
	sources, err := parseTree("..")
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]bool{}
	for _, word := range words(sources, "election", "Code") {
		codes[word] = true
	}
	for name, word := range words(sources, "promote", "Reason") {
		if ast.IsExported(name) && !codes[word] {
			t.Errorf("promote.%s: election has no code %q", name, word)
		}
	}
}
