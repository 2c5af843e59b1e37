// SPDX-License-Identifier: Apache-2.0

// Package test holds what is true of the project as a whole.
package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "highwater"

// pure are the packages that read no clock, do no I/O and write no log (docs/design.md §3):
// whole clusters of them run on a simulated clock.
var pure = map[string][]string{ // what of others they may import
	"election":      nil,
	"election/vrrp": nil,
	"election/quorum": {
		module + "/election",
		"go.etcd.io/raft/v3", "go.etcd.io/raft/v3/raftpb", "go.etcd.io/raft/v3/tracker", "google.golang.org/protobuf/proto",
	},
	"mysqlcheck/gtid": nil,
}

// pureFiles are pure files of packages that are not.
var pureFiles = map[string][]string{
	"promote/plan.go":     nil,
	"promote/choose.go":   {module + "/mysqlcheck/gtid"},
	"promote/complete.go": {module + "/mysqlcheck/gtid"},
}

// harmless are the packages of the standard library that a pure package may import.
var harmless = []string{
	"bytes", "cmp", "encoding", "encoding/binary", "encoding/hex", "encoding/json", "errors", "fmt", "iter", "maps", "math", "math/bits",
	"net/netip", "reflect", "slices", "sort", "strconv", "strings", "time", "unicode", "unicode/utf8",
}

// impure are the names of harmless packages that are not: package time is there for Duration.
var impure = map[string][]string{
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Timer", "Ticker", "Local", "LoadLocation"},
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
}

// mayImport is the table of docs/design.md §3: what of ours each package may import. "*" is
// everything; whoever is not listed may not be.
var mayImport = map[string][]string{
	"cmd/highwater":              {"*"},
	"configs":                    nil,
	"docs":                       nil,
	"election":                   nil,
	"election/vrrp":              nil,
	"election/vrrpnet":           {"election/vrrp"},
	"election/vrrpnet/netnstest": nil,
	"election/quorum":            {"election"},
	"mysqlcheck":                 {"mysqlcheck/gtid"},
	"mysqlcheck/gtid":            nil,
	"promote":                    {"mysqlcheck", "mysqlcheck/gtid"},
	"vip":                        nil,
	"supervisor": {
		"configs", "election", "election/vrrp", "election/vrrpnet", "election/quorum", "mysqlcheck", "mysqlcheck/gtid", "promote", "vip",
		"supervisor/control", "supervisor/gather", "supervisor/journal", "supervisor/keeper", "supervisor/peer", "supervisor/raftlog", "supervisor/sdnotify", "supervisor/voter", "supervisor/web",
	},
	"supervisor/control":  nil,
	"supervisor/gather":   {"configs", "election", "mysqlcheck", "promote", "supervisor/peer"},
	"supervisor/keeper":   {"election", "mysqlcheck", "mysqlcheck/gtid", "promote", "supervisor/peer"},
	"supervisor/journal":  nil,
	"supervisor/peer":     {"mysqlcheck/gtid"},
	"supervisor/raftlog":  nil,
	"supervisor/voter":    {"election", "election/quorum", "supervisor/raftlog"},
	"supervisor/sdnotify": nil,
	"supervisor/web":      {"election"},
}

// source is one Go file that is not a test.
type source struct {
	dir  string // of its package, from the root of the module
	name string
	file *ast.File
	fset *token.FileSet
}

// TestArchitecture holds the whole tree to the tables above.
func TestArchitecture(t *testing.T) {
	sources, err := parseTree("..")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, s := range sources {
		seen[s.dir] = true
		seen[path.Join(s.dir, s.name)] = true
		for _, fault := range faults(s) {
			t.Error(fault)
		}
	}
	for dir := range pure {
		if !seen[dir] && dir != "election/quorum" {
			t.Errorf("package %s is to be pure, and is not there", dir)
		}
	}
	for file := range pureFiles {
		if !seen[file] {
			t.Errorf("file %s is to be pure, and is not there", file)
		}
	}
}

// parseTree parses every Go file below root but tests and what git ignores or generates.
func parseTree(root string) ([]source, error) {
	var sources []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		sources = append(sources, source{dir: filepath.ToSlash(filepath.Dir(rel)), name: filepath.Base(rel), file: file, fset: fset})
		return nil
	})
	return sources, err
}

// faults returns what is wrong with a file.
func faults(s source) []string {
	list := importFaults(s)
	if others, ok := pure[s.dir]; ok {
		list = append(list, purityFaults(s, others)...)
	}
	if others, ok := pureFiles[path.Join(s.dir, s.name)]; ok {
		list = append(list, purityFaults(s, others)...)
	}
	return list
}

// importFaults compares a file's imports of ours with the table.
func importFaults(s source) []string {
	if s.dir == "test" || strings.HasPrefix(s.dir, "test/") {
		return nil
	}
	allowed, listed := mayImport[s.dir]
	if !listed {
		return []string{fmt.Sprintf("package %s is not in the table of docs/design.md §3", s.dir)}
	}
	var list []string
	for _, imp := range s.file.Imports {
		name, ours := strings.CutPrefix(importPath(imp), module+"/")
		if ours && !slices.Contains(allowed, name) && !slices.Contains(allowed, "*") {
			list = append(list, fmt.Sprintf("%s: %s must not import %s", s.fset.Position(imp.Pos()), s.dir, name))
		}
	}
	return list
}

// purityFaults returns where a file could learn what its caller did not tell it.
func purityFaults(s source, others []string) []string {
	var list []string
	complain := func(n ast.Node, format string, args ...any) {
		list = append(list, fmt.Sprintf("%s: %s is pure: %s", s.fset.Position(n.Pos()), s.dir, fmt.Sprintf(format, args...)))
	}
	imported := map[string]string{} // local name to path
	for _, imp := range s.file.Imports {
		p := importPath(imp)
		if !slices.Contains(harmless, p) && !slices.Contains(others, p) {
			complain(imp, "imports %s", p)
			continue
		}
		local := path.Base(p)
		if imp.Name != nil {
			local = imp.Name.Name
		}
		if local == "." {
			complain(imp, "imports %s without its name", p)
			continue
		}
		imported[local] = p
	}
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok {
				if p := imported[x.Name]; slices.Contains(impure[p], n.Sel.Name) {
					complain(n, "uses %s.%s", p, n.Sel.Name)
				}
			}
		case *ast.GoStmt:
			complain(n, "starts a goroutine")
		case *ast.CallExpr:
			if f, ok := n.Fun.(*ast.Ident); ok && (f.Name == "print" || f.Name == "println") {
				complain(n, "calls %s", f.Name)
			}
		}
		return true
	})
	return list
}

func importPath(imp *ast.ImportSpec) string {
	p, err := strconv.Unquote(imp.Path.Value)
	if err != nil {
		panic(err) // the parser has read it
	}
	return p
}

// TestArchitectureCanFail plants a fault of each kind and expects it to be found.
func TestArchitectureCanFail(t *testing.T) {
	tests := []struct {
		file, text, want string
	}{
		{"election/x.go", `import "time"; var x = time.Now()`, "uses time.Now"},
		{"election/x.go", `import "time"; var x = time.Now`, "uses time.Now"},
		{"election/x.go", `import clock "time"; func f() { clock.Sleep(1) }`, "uses time.Sleep"},
		{"election/x.go", `import "time"; type x struct{ t *time.Timer }`, "uses time.Timer"},
		{"election/x.go", `import . "time"; var x = Now()`, "without its name"},
		{"election/x.go", `import "os"; var x = os.Args`, "imports os"},
		{"election/x.go", `import "net"; var x net.Conn`, "imports net"},
		{"election/x.go", `import "log/slog"; var x slog.Logger`, "imports log/slog"},
		{"election/x.go", `import "math/rand/v2"; var x = rand.Int()`, "imports math/rand"},
		{"election/x.go", `import "fmt"; func f() { fmt.Println() }`, "uses fmt.Println"},
		{"election/x.go", `func f() { println() }`, "calls println"},
		{"election/x.go", `func f() { go f() }`, "starts a goroutine"},
		{"election/vrrp/x.go", `import "golang.org/x/sys/unix"; var x = unix.AF_INET`, "imports golang.org/x/sys"},
		{"mysqlcheck/gtid/x.go", `import "github.com/x/y"; var x = y.Z`, "imports github.com/x/y"},
		{"election/x.go", `import "highwater/vip"; var x vip.Config`, "must not import vip"},
		{"vip/x.go", `import "highwater/election"; var x election.Role`, "must not import election"},
		{"promote/plan.go", `import "time"; var x = time.Since`, "uses time.Since"},
		{"promote/choose.go", `import "context"; var x context.Context`, "imports context"},
		{"surprise/x.go", ``, "not in the table"},
		// And what is allowed is let through.
		{"election/x.go", `import ("fmt"; "time"); var x = fmt.Sprint(time.Second)`, ""},
		{"promote/choose.go", `import "highwater/mysqlcheck/gtid"; var x gtid.Set`, ""},
		{"promote/run.go", `import ("os"; "time"); var x, y = time.Now(), os.Args`, ""},
		{"test/x/x.go", `import "highwater/vip"; var x vip.Config`, ""},
	}
	for _, tt := range tests {
		root := t.TempDir()
		name := filepath.Join(root, tt.file)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("package x\n"+tt.text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		sources, err := parseTree(root)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, s := range sources {
			found = append(found, faults(s)...)
		}
		all := strings.Join(found, "\n")
		if tt.want == "" && all != "" || !strings.Contains(all, tt.want) {
			t.Errorf("%s: %s\nfound %q, want %q", tt.file, tt.text, all, tt.want)
		}
	}
}
