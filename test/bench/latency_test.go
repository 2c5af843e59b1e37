// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/test/lab"
)

// Both halves of a pair are measured on the same servers, which supervisors or their end leave as they are.
func TestLatency(t *testing.T) {
	lab.Require(t, "root", "mysql")
	binary := filepath.Join(t.TempDir(), "highwater")
	if out, err := exec.Command("go", "build", "-o", binary, "highwater/cmd/highwater").CombinedOutput(); err != nil {
		t.Fatalf("build the program: %v\n%s", err, out)
	}
	for _, name := range []string{"highwater-quorum", "highwater-lossless"} {
		t.Run(name, func(t *testing.T) {
			o, err := parse([]string{
				"-binary", binary, "-faults", "latency", "-runs", "2", "-latency-for", "1s", "-systems", name, "-logs", t.TempDir(),
			}, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			pairs, err := measureLatency(t.Context(), o, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			if len(pairs) != o.runs {
				t.Fatalf("got %d pairs, want %d", len(pairs), o.runs)
			}
			for _, p := range pairs {
				for _, h := range []half{p.With, p.Without} {
					// A commit goes to disk and over a network: none is done in ten microseconds.
					if h.Commits == 0 || h.Median < 1e-5 || h.P99 < h.Median {
						t.Errorf("pair %d: got %+v", p.Run, h)
					}
				}
				// In a lossless cluster a half counts only if commits wait for replicas, also without supervisors.
				if waits := p.With.path[p.Primary+" Rpl_semi_sync_source_status"] == "ON"; waits != (name == "highwater-lossless") {
					t.Errorf("pair %d: commits wait for a replica: %t", p.Run, waits)
				}
			}
		})
	}
}

func TestDiffer(t *testing.T) {
	a := map[string]string{"db1 sync_binlog": "1", "db1 read_only": "OFF", "db2 read_only": "ON"}
	b := map[string]string{"db1 sync_binlog": "0", "db1 read_only": "OFF", "db3 read_only": "ON"}
	got := strings.Join(differ(a, b), "; ")
	want := `db1 sync_binlog: "1", then "0"; db2 read_only: "ON", then ""; db3 read_only: "", then "ON"`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := differ(a, a); got != nil {
		t.Errorf("the same: got %q", got)
	}
}
