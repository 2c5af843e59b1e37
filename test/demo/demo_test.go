// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/test/lab"
)

// The demonstration itself: a killed server, all told, and nothing lost.
func TestDemonstration(t *testing.T) {
	lab.Require(t, "root", "mysql")
	if testing.Short() {
		t.Skip("starts three servers")
	}
	binary := filepath.Join(t.TempDir(), "highwater")
	if out, err := exec.Command("go", "build", "-o", binary, "highwater/cmd/highwater").CombinedOutput(); err != nil {
		t.Fatalf("build highwater: %v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	var out bytes.Buffer
	if err := run(ctx, []string{"-binary", binary}, strings.NewReader(""), &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{
		`Healthy: db1 is primary and holds 10\.77\.0\.100/32; db2 and db3 can take over\.`,
		`0\.0  db1 .* SIGKILL to the server of db1`,
		`1 silence .*\n.*2 health .*\n.*3 authority .*stands for term`,
		`4 completeness +chosen: `,
		`5 promotion +its server accepts writes`,
		`claim +carries the VIP`,
		`first row acknowledged, by db[23]`,
		`rows +\d+ acknowledged, 0 lost`,
		`(?s)return .*(follows|is held)`,
		`result +kill-server: outage .*, 0 lost; db[23] alone carries the VIP`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("nothing like %q in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b[") {
		t.Error("colours although the output is no terminal")
	}
}

// Interrupted in the middle, it ends and its error says why: main tells that from a failure.
func TestInterrupted(t *testing.T) {
	lab.Require(t, "root", "mysql")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	err := run(ctx, []string{"-binary", "/bin/true"}, strings.NewReader(""), &bytes.Buffer{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

// Lossless brings a quorum with it, and nothing else is what it was.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		args                  string
		authority, durability string
	}{
		{"", configs.AuthorityVRRP, configs.BestEffort},
		{"-authority quorum", configs.AuthorityQuorum, configs.BestEffort},
		{"-durability lossless", configs.AuthorityQuorum, configs.Lossless},
		{"-durability lossless -authority quorum", configs.AuthorityQuorum, configs.Lossless},
	} {
		o, err := parse(strings.Fields(tt.args), &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		want := options{
			binary: "bin/highwater", fault: "kill-server", flavor: lab.MySQL,
			authority: tt.authority, durability: tt.durability, semiSync: true,
		}
		if *o != want {
			t.Errorf("%q: %+v, want %+v", tt.args, *o, want)
		}
	}
}

func TestFaults(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-fault", "help"}, nil, &out); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range faults {
		if seen[f.name] || !strings.Contains(out.String(), f.name+" ") || strings.Count(f.what, "%s") != 1 {
			t.Errorf("fault %q: named twice, not listed, or without its host", f.name)
		}
		if f.heals() != (f.heal != "") {
			t.Errorf("fault %q: says %q, heals %t", f.name, f.heal, f.heals())
		}
		seen[f.name] = true
	}
	for _, args := range [][]string{
		{"-fault", "flood"},
		{"-flavor", "oracle"},
		{"surplus"},
		{"-nonsense"},
		{"-durability", "some"},
		{"-durability", "lossless", "-authority", "vrrp"},
		{"-durability", "lossless", "-semi-sync=false"},
	} {
		if err := run(t.Context(), args, nil, &out); err == nil {
			t.Errorf("%v is no error", args)
		}
	}
}
