// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"runtime"
	"testing"
)

// recorder is a testing.TB that notes how Require ended the test.
type recorder struct {
	testing.TB
	ended string
}

func (r *recorder) Helper()      {}
func (r *recorder) Skip(...any)  { r.ended = "skipped"; runtime.Goexit() }
func (r *recorder) Fatal(...any) { r.ended = "failed"; runtime.Goexit() }

func TestRequire(t *testing.T) {
	for _, c := range []struct{ require, what, want string }{
		{"", "no-such-program", "skipped"},
		{"0", "no-such-program", "skipped"},
		{"1", "no-such-program", "failed"},
		{"", "mysql", "skipped"},
		{"1", "mariadb", "failed"},
	} {
		t.Setenv("HIGHWATER_CACHE", t.TempDir())
		t.Setenv("HIGHWATER_REQUIRE_LAB", c.require)
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Require(r, c.what)
		}()
		<-done
		if r.ended != c.want {
			t.Errorf("Require(%q) with HIGHWATER_REQUIRE_LAB=%q: %q, want %q", c.what, c.require, r.ended, c.want)
		}
	}
}
