// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/test/lab"
)

// durability are the reasons of a host, those that bar it in capitals.
func (h *labHost) durability() string {
	h.t.Helper()
	d, err := h.control.Durability(testContext(h.t))
	if err != nil {
		h.t.Fatal(err)
	}
	var words []string
	for _, w := range d.Weaknesses {
		word := string(w.Reason)
		if w.Bars {
			word = strings.ToUpper(word)
		}
		words = append(words, word)
		if w.Problem == "" || w.Setting == "" || !strings.HasSuffix(w.Remedy, ".") {
			h.t.Errorf("%+v is not explained", w)
		}
	}
	if looked := h.look(h.dir); !cmp.Equal(d, looked) {
		h.t.Errorf("who only looks sees %+v, want %+v", looked, d)
	}
	if d.StartID != h.position().StartID {
		h.t.Errorf("start id %q, want %q", d.StartID, h.position().StartID)
	}
	for _, w := range d.Barred() {
		if !slices.Contains(words, strings.ToUpper(string(w.Reason))) {
			h.t.Errorf("barred by %+v, of %v", w, words)
		}
	}
	return strings.Join(words, " ")
}

// look is what those see who only look, and it writes nothing.
func (h *labHost) look(dir string) Durability {
	h.t.Helper()
	before := listing(h.t, dir)
	d, err := LookAtDurability(testContext(h.t), h.control.cfg.DB, dir)
	if err != nil {
		h.t.Fatal(err)
	}
	if diff := cmp.Diff(before, listing(h.t, dir)); diff != "" {
		h.t.Errorf("looking has changed %s (-before +after):\n%s", dir, diff)
	}
	return d
}

// listing is what a directory holds; nil if there is none.
func listing(t testing.TB, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		list[e.Name()] = info.ModTime().String()
	}
	return list
}

// Before the supervisor has ever run there is no state directory; what it would
// remember is then seen of the server alone.
func TestLookAtDurabilityOfNobodys(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		replica := "rpl_semi_sync_replica_enabled"
		if flavor.IsMariaDB() {
			replica = "rpl_semi_sync_slave_enabled"
		}
		h := newHost(t, flavor, "db1", with(replica+"=ON"))
		absent := filepath.Join(h.dir, "absent")
		reasons := func() (list []DurabilityReason) {
			for _, w := range h.look(absent).Weaknesses {
				list = append(list, w.Reason)
			}
			return list
		}
		if got := reasons(); !slices.Equal(got, []DurabilityReason{DurabilityBootAcker}) {
			t.Errorf("%q", got)
		}
		h.do("SET GLOBAL " + replica + " = OFF")
		var want []DurabilityReason
		if flavor.IsMariaDB() {
			want = []DurabilityReason{DurabilityBootUnknown}
		}
		if got := reasons(); !slices.Equal(got, want) {
			t.Errorf("after a change at run time: %q, want %q", got, want)
		}
	})
}

// with are lines of an option file.
func with(lines ...string) options {
	return func(sc *lab.ServerConfig, _ *Config) { sc.Extra = append(sc.Extra, lines...) }
}

func TestDurability(t *testing.T) {
	both(t, func(t *testing.T, flavor lab.Flavor) {
		source, replica, mysql := "rpl_semi_sync_source_", "rpl_semi_sync_replica_enabled", true
		if flavor.IsMariaDB() {
			source, replica, mysql = "rpl_semi_sync_master_", "rpl_semi_sync_slave_enabled", false
		}
		t.Run("as it should be", func(t *testing.T) {
			h := newHost(t, flavor, "db1")
			if got := h.durability(); got != "" {
				t.Errorf("%q", got)
			}
		})
		t.Run("settings", func(t *testing.T) {
			h := newHost(t, flavor, "db1", with(source+"wait_point=AFTER_COMMIT", source+"timeout=10000",
				"sync_binlog=0", "innodb_flush_log_at_trx_commit=2", "relay_log_recovery=OFF"))
			want := "wait_point ack_timeout DURABILITY_RELAXED DURABILITY_RELAXED"
			if mysql {
				want += " relay_log_recovery_off"
			}
			if got := h.durability(); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			if err := h.control.EnableSource(testContext(t), 1); err != nil {
				t.Fatal(err)
			}
			if got, want := h.durability(), strings.TrimPrefix(want, "wait_point ack_timeout "); got != want {
				t.Errorf("after a term began: %q, want %q", got, want)
			}
		})
		t.Run("semi-sync in my.cnf", func(t *testing.T) {
			h := newHost(t, flavor, "db1", with(replica+"=ON"))
			if got := h.durability(); got != "BOOT_ACKER" {
				t.Errorf("%q", got)
			}
			// Set at run time it hides what my.cnf says; what was seen is kept, also
			// by a supervisor that starts anew.
			h.do("SET GLOBAL " + replica + " = OFF")
			if got := h.durability(); got != "BOOT_ACKER" {
				t.Errorf("switched off at run time: %q", got)
			}
			restarted, err := NewServer(h.control.cfg)
			if err != nil {
				t.Fatal(err)
			}
			h.control = restarted
			if got := h.durability(); got != "BOOT_ACKER" {
				t.Errorf("to a supervisor that has restarted: %q", got)
			}
			if err := os.WriteFile(filepath.Join(h.dir, bootFile), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			want := ""
			if !mysql { // there it cannot tell that replication does not start by itself
				want = "BOOT_ACKER_UNKNOWN"
			}
			if got := h.durability(); got != want {
				t.Errorf("forgotten: %q, want %q", got, want)
			}
		})
		t.Run("set by ourselves", func(t *testing.T) {
			hosts := newLossless(t, flavor, 2, "db2")
			if got := hosts[1].durability(); got != "" {
				t.Errorf("a replica that acknowledges: %q", got)
			}
			if got := hosts[0].durability(); got != "" {
				t.Errorf("a primary that waits: %q", got)
			}
		})
		if !mysql {
			return
		}
		t.Run("replication starts by itself", func(t *testing.T) {
			h := newHost(t, flavor, "db1", with("skip_replica_start=OFF"))
			if got := h.durability(); got != "BOOT_ACKER" {
				t.Errorf("%q", got)
			}
		})
		t.Run("persisted", func(t *testing.T) {
			h := newHost(t, flavor, "db1")
			h.do("SET PERSIST_ONLY rpl_semi_sync_replica_enabled = ON")
			if got := h.durability(); got != "BOOT_ACKER" {
				t.Errorf("semi-sync: %q", got)
			}
			h.do("RESET PERSIST rpl_semi_sync_replica_enabled", "SET PERSIST_ONLY skip_replica_start = OFF")
			if got := h.durability(); got != "BOOT_ACKER" {
				t.Errorf("replication: %q", got)
			}
			h.do("RESET PERSIST")
			if got := h.durability(); got != "" {
				t.Errorf("reset: %q", got)
			}
		})
		t.Run("without plugins", func(t *testing.T) {
			h := newHost(t, flavor, "db1")
			h.do("SET GLOBAL super_read_only = OFF", "UNINSTALL PLUGIN rpl_semi_sync_source", "UNINSTALL PLUGIN rpl_semi_sync_replica")
			if got := h.durability(); got != "SEMI_SYNC_REPLICA_MISSING SEMI_SYNC_SOURCE_MISSING" {
				t.Errorf("%q", got)
			}
		})
	})
}

func TestBootOf(t *testing.T) {
	persisted := func(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }
	for _, tt := range []struct {
		value, origin string
		persisted     sql.NullString
		want          boot
	}{
		{"ON", "COMPILED", sql.NullString{}, bootOn},
		{"OFF", "EXPLICIT", sql.NullString{}, bootOff},
		{"OFF", "DYNAMIC", sql.NullString{}, bootUnknown},
		{"ON", "SQL", sql.NullString{}, bootUnknown},
		{"OFF", "CONFIG", sql.NullString{}, bootOff},
		{"OFF", "DYNAMIC", persisted("ON"), bootOn},
		{"ON", "EXPLICIT", persisted("OFF"), bootOff},
		{"1", "COMMAND_LINE", sql.NullString{}, bootOn},
	} {
		if got := bootOf(tt.value, tt.origin, tt.persisted); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
	for b, want := range map[boot]boot{bootOn: bootOff, bootOff: bootOn, bootUnknown: bootUnknown} {
		if got := b.not(); got != want {
			t.Errorf("not %q: %q", b, got)
		}
	}
}
