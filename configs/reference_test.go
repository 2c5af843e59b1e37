// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var ignorePositions = cmpopts.IgnoreUnexported(Config{})

// compareAddresses lets cmp look at net/netip's values, which are comparable.
var compareAddresses = cmpopts.EquateComparable(Node{}.Address, Node{}.Address.Addr(), hostPrefix(Node{}.Address.Addr()))

// TestReferenceHasEveryKey: every key is in reference.yaml, as it stands or, for
// those without a default of their own, behind a "#".
func TestReferenceHasEveryKey(t *testing.T) {
	data := readFile(t, "reference.yaml")
	asIs := decodeFile(t, data)
	full := decodeFile(t, regexp.MustCompile(`(?m)^( *)#([a-z])`).ReplaceAll(data, []byte("$1$2")))
	Default().keys().each("", func(path string, k key) {
		path = strings.ReplaceAll(path, "[]", "[0]")
		if !full.isWritten(path) {
			t.Errorf("reference.yaml lacks %s", path)
		}
		if hasDefault := k.absent == "" && !k.required && defaultOf(k.kind) != ""; hasDefault && !asIs.isWritten(path) {
			t.Errorf("reference.yaml has %s behind a #, and it has a default", path)
		}
	})
}

// TestReferenceHasDefaults: what reference.yaml writes is what holds anyway.
func TestReferenceHasDefaults(t *testing.T) {
	got, err := Load("reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	// What is required has no default.
	want.File = got.File
	want.Cluster = got.Cluster
	want.Election.Interface, want.Election.VRID = got.Election.Interface, got.Election.VRID
	want.VIP.Addresses = got.VIP.Addresses
	want.MySQL.Replication.PasswordFile = got.MySQL.Replication.PasswordFile
	want.resolve()
	if diff := cmp.Diff(want, got, ignorePositions, compareAddresses, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("(-default +reference.yaml):\n%s", diff)
	}
	node := defaultNode()
	node.Name, node.Address = got.Cluster.Nodes[0].Name, got.Cluster.Nodes[0].Address
	if diff := cmp.Diff(node, got.Cluster.Nodes[0], compareAddresses); diff != "" {
		t.Errorf("first node (-default +reference.yaml):\n%s", diff)
	}
}

// TestReferenceExplainsEveryKey: a comment stands above every key or the run of
// keys that it is part of.
func TestReferenceExplainsEveryKey(t *testing.T) {
	isKey := regexp.MustCompile(`^ *(- )?#?[a-z_]+:`)
	isComment := regexp.MustCompile(`^ *# `)
	explained := false
	for i, line := range strings.Split(string(readFile(t, "reference.yaml")), "\n") {
		switch {
		case isComment.MatchString(line):
			explained = true
		case isKey.MatchString(line) && !explained:
			t.Errorf("line %d: no comment above %q", i+1, line)
		case line == "":
			explained = false
		}
	}
}

// TestDefaultsAreInRange: every default would be accepted if it were written.
func TestDefaultsAreInRange(t *testing.T) {
	Default().keys().each("", func(path string, k key) {
		written := defaultOf(k.kind)
		if written == "" {
			return
		}
		_, err := Parse("default", []byte(nest(path, written)))
		var errs Errors
		if !errors.As(err, &errs) {
			t.Fatalf("Parse returned %v: required keys are missing", err)
		}
		for _, e := range errs {
			if e.Path == strings.ReplaceAll(path, "[]", "[0]") {
				t.Errorf("the default of %s is refused: %v", path, e)
			}
		}
	})
}

// nest writes one key in flow style: {a: {b: value}}.
func nest(path, value string) string {
	name, rest, deeper := strings.Cut(path, ".")
	inner := value
	if deeper {
		inner = nest(rest, value)
	}
	if list, ok := strings.CutSuffix(name, "[]"); ok {
		name, inner = list, "["+inner+"]"
	}
	return fmt.Sprintf("{%s: %s}", name, inner)
}

// TestDocumentation: docs/configuration.md has one row per key, with what may be
// written and its default as the code has them.
func TestDocumentation(t *testing.T) {
	rows := map[string]string{}
	for _, line := range strings.Split(string(readFile(t, filepath.Join("..", "docs", "configuration.md"))), "\n") {
		if m := regexp.MustCompile("^\\| `([^`]+)` \\|").FindStringSubmatch(line); m != nil {
			if rows[m[1]] != "" {
				t.Errorf("two rows for %s", m[1])
			}
			rows[m[1]] = line
		}
	}
	Default().keys().each("", func(path string, k key) {
		var fallback string
		switch {
		case k.required:
			fallback = "required"
		case k.absent != "":
			fallback = k.absent
		default:
			fallback = "`" + defaultOf(k.kind) + "`"
		}
		want := fmt.Sprintf("| `%s` | %s | %s | ", path, k.kind.spec(), fallback)
		if text, ok := strings.CutPrefix(rows[path], want); !ok {
			t.Errorf("configuration.md: want a row\n%s… |\nhave\n%s", want, rows[path])
		} else if len(text) < 10 {
			t.Errorf("configuration.md does not explain %s", path)
		}
		delete(rows, path)
	})
	for path := range rows {
		t.Errorf("configuration.md has a row for %s, which is no key", path)
	}
}

// TestShippedFiles: the files to start from run with this release, as they stand,
// and a commit that they acknowledge is not lost.
func TestShippedFiles(t *testing.T) {
	design := string(readFile(t, filepath.Join("..", "docs", "design.md")))
	_, after, _ := strings.Cut(design, "```yaml\n")
	block, _, _ := strings.Cut(after, "```")
	if diff := cmp.Diff(block, string(readFile(t, "highwater.yaml"))); diff != "" {
		t.Errorf("highwater.yaml is not the example of docs/design.md §7 (-design +file):\n%s", diff)
	}
	for _, file := range []string{"highwater.yaml", "example.yaml"} {
		c, err := Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Warnings) > 0 {
			t.Errorf("%s has warnings: %v", file, c.Warnings)
		}
		if err := c.RunnableNow(); err != nil {
			t.Errorf("%s does not run with this release: %v", file, err)
		}
		if c.Durability.Mode != Lossless || c.Durability.WhenAlone != WhenAloneStall || c.Authority() != AuthorityQuorum {
			t.Errorf("%s: durability %+v, authority %s", file, c.Durability, c.Authority())
		}
	}
}

// defaultOf returns what a key of Default holds as it would be written, or "".
func defaultOf(k kind) string {
	count := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	switch k := k.(type) {
	case text:
		return *k.into
	case choice:
		return *k.into
	case serverAddress:
		return *k.into
	case listenAddress:
		return strconv.Quote(*k.into)
	case boolean:
		return strconv.FormatBool(*k.into)
	case duration:
		return formatDuration(*k.into)
	case number[uint8]:
		return count(int(*k.into))
	case number[uint16]:
		return count(int(*k.into))
	case number[int]:
		return count(*k.into)
	case list[[]string]:
		return "[]"
	default:
		return ""
	}
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// decodeFile reads every key without asking whether they fit together.
func decodeFile(t *testing.T, data []byte) *Config {
	t.Helper()
	root, bad := parseTree(data)
	if bad != nil {
		t.Fatal(bad)
	}
	c := Default()
	if errs, _ := c.decode(root); len(errs) > 0 {
		t.Fatal(errs)
	}
	return c
}
