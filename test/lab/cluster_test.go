// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func bootstrap(t *testing.T, c Config) *Lab {
	t.Helper()
	l := newLab(t, c)
	must(t, l.Bootstrap(testContext(t)))
	return l
}

func TestBootstrap(t *testing.T) {
	bothFlavors(t, func(t *testing.T, flavor Flavor) {
		l := bootstrap(t, Config{Hosts: 3, Flavor: flavor, SemiSync: true})
		ctx := testContext(t)
		primary, replicas := l.Hosts()[0], l.Hosts()[1:]
		must(t, primary.Server.Exec(ctx, "INSERT INTO lab.writes VALUES (1000, 1, @@hostname)"))
		must(t, l.WaitReplicas(ctx, primary, replicas...))
		for _, h := range replicas {
			if got := query(t, h.Server, "SELECT host FROM lab.writes"); got != "db1" {
				t.Errorf("row on %s written by %q, want db1", h, got)
			}
			if err := h.Server.Exec(ctx, "CREATE DATABASE d"); err == nil && !flavor.IsMariaDB() {
				t.Errorf("%s is writable for root", h)
			}
			if got := query(t, h.Server, "SELECT @@global.read_only"); got != "1" {
				t.Errorf("read_only of %s = %s", h, got)
			}
		}
		if got := query(t, primary.Server, "SELECT @@global.read_only"); got != "0" {
			t.Errorf("read_only of the primary = %s", got)
		}

		// No replica acknowledges: nothing commits, for ever.
		for _, h := range replicas {
			must(t, h.Server.Exec(ctx, l.dialect().stopReplica))
		}
		short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
		defer cancel()
		if err := primary.Server.Exec(short, "INSERT INTO lab.writes VALUES (1000, 2, @@hostname)"); err == nil {
			t.Error("a commit succeeded that no replica acknowledged")
		}
	})
}

func TestPowerCycleComesBackReadOnly(t *testing.T) {
	bothFlavors(t, func(t *testing.T, flavor Flavor) {
		l := bootstrap(t, Config{Hosts: 2, Flavor: flavor})
		ctx := testContext(t)
		primary, replica := l.Host("db1"), l.Host("db2")
		for _, h := range l.Hosts() {
			must(t, h.PowerOff())
		}
		if primary.Server.Alive() {
			t.Error("the server is alive on a host that is off")
		}
		if err := primary.Server.Start(ctx); !errors.Is(err, ErrOff) {
			t.Errorf("start a server on a host that is off: %v", err)
		}
		for _, h := range l.Hosts() {
			must(t, h.PowerOn(ctx))
			if got := query(t, h.Server, "SELECT @@global.read_only"); got != "1" {
				t.Errorf("read_only of %s = %s", h, got)
			}
		}
		must(t, primary.SetWritable(ctx, true))
		must(t, primary.Server.Exec(ctx, "INSERT INTO lab.writes VALUES (1000, 1, @@hostname)"))
		must(t, replica.Follow(ctx, primary))
		must(t, l.WaitReplicas(ctx, primary, replica))
		if got := query(t, replica.Server, "SELECT COUNT(*) FROM lab.writes"); got != "1" {
			t.Errorf("%s rows on the replica, want 1", got)
		}
	})
}

func TestWriterSeesAnOutage(t *testing.T) {
	bothFlavors(t, func(t *testing.T, flavor Flavor) {
		l := bootstrap(t, Config{Hosts: 2, Flavor: flavor})
		ctx := testContext(t)
		primary, replica := l.Host("db1"), l.Host("db2")
		must(t, primary.AddAddress(netip.PrefixFrom(VIP, 32)))
		w, err := l.Client().StartWriter(WriterConfig{})
		must(t, err)
		defer w.Stop()
		must(t, w.WaitAcknowledged(ctx))
		pause(ctx, 300*time.Millisecond)

		primary.Server.Kill()
		killed := now()
		pause(ctx, 300*time.Millisecond)
		must(t, primary.Server.Start(ctx))
		must(t, primary.SetWritable(ctx, true))
		opened := now()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); pause(ctx, 10*time.Millisecond) {
			if acks := w.Record().Acks; acks[len(acks)-1].Sent > opened {
				break
			}
		}
		record := w.Stop()
		outage := record.Outage()
		t.Logf("%d acknowledged, %d unknown, %d errors; outage %s", len(record.Acks), len(record.Unknown), record.Errors, outage.Duration())
		if outage.From > killed || outage.To < opened {
			t.Errorf("outage from %s to %s; killed at %s, open again at %s", outage.From, outage.To, killed, opened)
		}
		terms := record.Terms()
		if len(terms) != 1 || terms[0].Server != "db1" || terms[0].Acks != len(record.Acks) {
			t.Errorf("terms: %+v", terms)
		}
		must(t, replica.Follow(ctx, primary))
		must(t, l.WaitReplicas(ctx, primary, replica))
		for _, h := range l.Hosts() {
			difference, err := record.Verify(ctx, h.Server)
			must(t, err)
			if !difference.OK() {
				t.Errorf("on %s: %s", h, difference)
			}
		}

		// The test of the test: rows that are gone, and rows from nowhere, are found.
		must(t, primary.Server.Exec(ctx, "DELETE FROM lab.writes ORDER BY client, seq LIMIT 3", "INSERT INTO lab.writes VALUES (0, 1000000, 'x')"))
		difference, err := record.Verify(ctx, primary.Server)
		must(t, err)
		if len(difference.Missing)+len(record.Unknown) < 3 || len(difference.Missing) == 0 || len(difference.Unexpected) != 1 {
			t.Errorf("after deleting three rows and adding one: %s", difference)
		}
	})
}

func TestFullAndFrozenDisk(t *testing.T) {
	l := bootstrap(t, Config{Hosts: 1, Flavor: MySQL, DiskSize: 600 << 20})
	ctx := testContext(t)
	db1 := l.Host("db1")
	must(t, db1.FreezeDisk())
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := db1.Server.Exec(short, "INSERT INTO lab.writes VALUES (1000, 1, @@hostname)"); err == nil {
		t.Error("a commit succeeded on a frozen disk")
	}
	if got := query(t, db1.Server, "SELECT 1"); got != "1" {
		t.Errorf("SELECT 1 = %s", got)
	}
	must(t, db1.ThawDisk())
	must(t, db1.Server.Exec(ctx, "INSERT INTO lab.writes VALUES (1000, 2, @@hostname)"))

	must(t, db1.FillDisk())
	var fs unix.Statfs_t
	must(t, unix.Statfs(db1.diskDir(), &fs))
	if free := fs.Bavail * uint64(fs.Bsize); free > 1<<20 {
		t.Errorf("%d bytes are free on a full disk", free)
	}
	must(t, db1.FreeDisk())
	if err := l.Host("client").FillDisk(); !errors.Is(err, ErrNoDisk) {
		t.Errorf("fill the client's disk: %v", err)
	}
}

func TestKeepalivedRuns(t *testing.T) {
	Require(t, "keepalived")
	l := newLab(t, Config{Hosts: 1})
	path, err := Program("keepalived")
	must(t, err)
	out, err := l.Host("db1").Run(testContext(t), path, "--version")
	must(t, err)
	if !strings.Contains(out, "Keepalived v") {
		t.Errorf("keepalived --version printed %q", out)
	}
}
