// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

// ended is what the server says of the run that wrote the transactions which it
// has beyond a set.
func (h *labHost) ended(beyond gtid.Set) RunEnding {
	h.t.Helper()
	ending, err := h.control.Ended(testContext(h.t), h.position().Executed.Subtract(beyond))
	if err != nil {
		h.t.Fatal(err)
	}
	return ending
}

// noteRun is what a supervisor does when it sees a new server process.
func (h *labHost) noteRun() {
	h.t.Helper()
	if err := h.control.NoteRun(h.position().StartID, 1); err != nil {
		h.t.Fatal(err)
	}
}

// leave ends the server with a commit that waits and starts it again. It returns
// what the client was told, and what the server had before that commit.
func (h *labHost) leave(t *testing.T, end func()) (before gtid.Set, told error) {
	t.Helper()
	h.noteRun()
	before = h.position().Executed
	answer := waitingCommit(t, h)
	end()
	told = <-answer
	h.Kill() // if it is still there
	await(t, "the server is gone", func() bool { return !h.Alive() })
	if err := h.Server.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	return before, told
}

// How a server with a waiting commit ended, which decides whether its client may
// have been told that it succeeded.
func TestEnded(t *testing.T) {
	t.Parallel()
	term := func(h *labHost) func() {
		return func() {
			if err := syscall.Kill(h.Pid(), syscall.SIGTERM); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	tests := []struct {
		name   string
		end    func(*labHost) func()
		after  func(*labHost)
		told   bool
		want   Ending
		detail string
	}{
		{name: "killed", end: func(h *labHost) func() { return h.Kill }, want: EndingCrash, detail: "neither"},
		{
			name: "killed, and it rotates its log later", end: func(h *labHost) func() { return h.Kill },
			after: func(h *labHost) { h.do("FLUSH BINARY LOGS") }, want: EndingCrash, detail: "neither",
		},
		{
			name: "killed in the midst of a shutdown", end: term, told: true, want: EndingOrderly, detail: "error log",
		},
		{
			name: "shut down", told: true, want: EndingOrderly, detail: "Stop event",
			end: func(h *labHost) func() {
				return func() {
					if err := h.Shutdown(testContext(h.t)); err != nil {
						h.t.Error(err)
					}
				}
			},
		},
		{
			name: "killed, and the error log is new", want: EndingUnknown, detail: "rotated",
			end: func(h *labHost) func() {
				return func() {
					h.Kill()
					if err := os.Remove(h.LogPath()); err != nil {
						h.t.Error(err)
					}
				}
			},
		},
		{
			name: "killed in an earlier boot", end: func(h *labHost) func() { return h.Kill }, want: EndingUnknown, detail: "boot",
			after: func(h *labHost) {
				if err := writeJSON(h.dir, runFile, serverRun{Boot: "another", Start: "1", Before: "0"}); err != nil {
					h.t.Fatal(err)
				}
			},
		},
		{
			name: "killed twice", end: func(h *labHost) func() { return h.Kill }, want: EndingUnknown, detail: "since then",
			after: func(h *labHost) {
				h.Kill()
				if err := h.Server.Start(testContext(h.t)); err != nil {
					h.t.Fatal(err)
				}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lab.Require(t, string(lab.MySQL))
			t.Parallel()
			h := newPrimary(t, lab.MySQL)
			before, told := h.leave(t, tt.end(h))
			if (told == nil) != tt.told {
				t.Errorf("the client was told %v", told)
			}
			if tt.after != nil {
				tt.after(h)
			}
			if got := h.ended(before); got.Ending != tt.want || !strings.Contains(got.Detail, tt.detail) {
				t.Errorf("%+v, want %s because of the %s", got, tt.want, tt.detail)
			}
		})
	}
	t.Run("MariaDB", func(t *testing.T) {
		lab.Require(t, string(lab.MariaDB))
		t.Parallel()
		h := newPrimary(t, lab.MariaDB)
		before, _ := h.leave(t, h.Kill)
		if got := h.ended(before); got.Ending != EndingUnknown {
			t.Errorf("%+v", got)
		}
	})
}

func parse(t *testing.T, text string) gtid.Set {
	t.Helper()
	set, err := gtid.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestBinlogsEnding(t *testing.T) {
	t.Parallel()
	const uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
	set := func(last int) gtid.Set {
		if last == 0 {
			return gtid.Set{}
		}
		return parse(t, fmt.Sprintf("%s:1-%d", uuid, last))
	}
	// Each log holds one transaction; the last one is being written.
	for _, tt := range []struct {
		ends  string // last events: R(otate), S(top), X(id), . for the present log
		write string // numbers of the errant ones
		want  Ending
	}{
		{"X.", "1", EndingCrash},
		{"S.", "1", EndingOrderly},
		{"R.", "1", EndingUnknown}, // the present run's
		{"X.", "2", EndingUnknown},
		{"X.", "1-2", EndingUnknown},
		{"RX.", "1", EndingCrash},
		{"RX.", "1-2", EndingCrash},
		{"RRXR.", "2", EndingCrash},
		{"RRS.", "2", EndingOrderly},
		{"SX.", "2", EndingCrash},
		{"SX.", "1-2", EndingOrderly},
		{"XX.", "2", EndingCrash},
		{"XX.", "1-2", EndingUnknown},
		{"XX.", "1", EndingUnknown}, // it ran since then
		{"XS.", "1", EndingUnknown},
		{"XRS.", "1", EndingUnknown},
		{"XRR.", "1", EndingCrash},
		{"R.", "2", EndingUnknown},
		{"XR.", "1-2", EndingUnknown}, // by two runs, of which one still goes on
	} {
		logs := binlogs{
			files:  strings.Split(tt.ends, ""),
			before: func(i int) (gtid.Set, error) { return set(i), nil },
			last: func(i int) (string, error) {
				return map[byte]string{'R': "Rotate", 'S': "Stop", 'X': "Xid"}[tt.ends[i]], nil
			},
		}
		got, err := logs.ending(parse(t, uuid+":"+tt.write))
		if err != nil || got.Ending != tt.want {
			t.Errorf("%s wrote %s: %+v, %v, want %s", tt.ends, tt.write, got, err, tt.want)
		}
	}
}

func TestLogEnding(t *testing.T) {
	t.Parallel()
	entry := map[byte]logEntry{
		's': {code: "MY-015015"}, 'w': {code: "MY-010097"}, 'S': {code: "MY-010116"}, 'i': {thread: 1, code: "MY-013576"},
		'R': {code: "MY-010931"}, 'x': {thread: 9, code: "MY-010000"}, 'D': {code: "MY-013172"}, 'F': {thread: 9, code: "MY-011145"},
		'C': {code: "MY-010910"},
	}
	for _, tt := range []struct {
		log  string
		want Ending
	}{
		{"swSiRxswSiR", EndingCrash},
		{"SiRSiR", EndingCrash},
		{"SiRDSiR", EndingOrderly},
		{"SiRFSiR", EndingOrderly},
		{"swSiRDxCswSiR", EndingOrderly},
		{"SiRDSiRxSiR", EndingCrash},   // an earlier shutdown
		{"SiRswSiCswSiR", EndingCrash}, // a start that failed
		{"SiRDswSiCswSiR", EndingOrderly},
		{"xswSiR", EndingCrash}, // rotated
		{"xDswSiR", EndingOrderly},
		{"xswSiCSiR", EndingCrash},
		{"wswSiR", EndingUnknown}, // that may be this start's
		{"swSiCswSiR", EndingUnknown},
		{"swSiR", EndingUnknown},
		{"SiRx", EndingUnknown},
		{"SiRSi", EndingUnknown}, // not this server's log
		{"x", EndingUnknown},
		{"", EndingUnknown},
	} {
		var log []logEntry
		for _, c := range []byte(tt.log) {
			log = append(log, entry[c])
		}
		if got := logEnding(log); got.Ending != tt.want {
			t.Errorf("%s: %+v, want %s", tt.log, got, tt.want)
		}
	}
}

func TestServerRun(t *testing.T) {
	t.Parallel()
	s := &Server{cfg: Config{StateDir: t.TempDir()}}
	led := func(term uint64) func(serverRun) uint64 { return func(serverRun) uint64 { return term } }
	for _, tt := range []struct {
		start     string
		led       uint64
		before    string
		beforeLed uint64
	}{{"1", 0, "", 0}, {"1", 7, "", 0}, {"2", 0, "1", 7}, {"2", 8, "1", 7}, {"2", 0, "1", 7}, {"3", 0, "2", 0}} {
		run, err := s.noteRun(tt.start, led(tt.led))
		if err != nil || run.Before != tt.before || run.BeforeLed != tt.beforeLed || run.Start != tt.start {
			t.Errorf("%+v: %+v, %v", tt, run, err)
		}
	}
	if err := s.NoteRun("3", 9); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LedBefore("3"); err != nil || got != 0 {
		t.Errorf("the run before led term %d, %v", got, err)
	}
	if got, err := s.LedBefore("4"); err != nil || got != 9 {
		t.Errorf("the run before led term %d, %v", got, err)
	}
	// Another boot, and damage, prove nothing.
	if run := (serverRun{Boot: "a", Start: "3", Before: "2"}).next("b", "3", 2); run != (serverRun{Boot: "b", Start: "3", Led: 2}) {
		t.Errorf("%+v", run)
	}
	if err := os.WriteFile(filepath.Join(s.cfg.StateDir, runFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if run, err := s.noteRun("4", led(0)); err != nil || run.Before != "" {
		t.Errorf("%+v, %v", run, err)
	}
}

// Without an operator's order only what was judged is given up, and only once it can be replayed.
func TestRebuildUntold(t *testing.T) {
	t.Parallel()
	lab.Require(t, "mysql")
	hosts := newCluster(t, lab.MySQL, 2)
	a, b := hosts[0], hosts[1]
	b.seal(2)
	a.do("INSERT INTO d.t (s) VALUES ('judged')")
	untold := a.position().Executed.Subtract(b.position().Executed)
	a.do("INSERT INTO d.t (s) VALUES ('not judged')")
	all := a.position().Executed.Subtract(b.position().Executed)
	succeed(t, a, b)
	b.do("GRANT BACKUP_ADMIN ON *.* TO repl@'%'")
	ctx := testContext(t)
	if err := a.Start(ctx); err != nil {
		t.Fatal(err)
	}
	before := a.position()
	var errant ErrErrant
	_, err := a.control.RebuildUntold(ctx, b.source(2), untold, nil)
	if !errors.As(err, &errant) || !errant.Set.Equal(all.Subtract(untold)) {
		t.Errorf("%v, want an error that names %s", err, all.Subtract(untold))
	}
	saved, err := filepath.Glob(filepath.Join(a.dir, "errant-*.sql"))
	if err != nil || len(saved) != 1 {
		t.Fatalf("saved %v, %v", saved, err)
	}
	if err := os.Remove(saved[0]); err != nil {
		t.Fatal(err)
	}
	// Without the program a list is saved.
	program := a.control.cfg.BinlogProgram
	a.control.cfg.BinlogProgram = "/nowhere/mysqlbinlog"
	if _, err := a.control.RebuildUntold(ctx, b.source(2), all, nil); !errors.Is(err, ErrNotReplayable) {
		t.Errorf("a list: %v", err)
	}
	if got := a.position(); !got.Executed.Equal(before.Executed) || got.StartID != before.StartID {
		t.Errorf("a refusal changed something: %+v, was %+v", got, before)
	}
	if err := os.Remove(saved[0]); err != nil {
		t.Fatal(err)
	}
	a.control.cfg.BinlogProgram = program
	if result, err := a.control.RebuildUntold(ctx, b.source(2), all, nil); err != nil || result.NeedsStart || result.Tail == "" {
		t.Fatalf("%+v, %v", result, err)
	}
	if got := a.position(); !got.Executed.Equal(b.position().Executed) {
		t.Errorf("rebuilt at %s, want %s", got.Executed, b.position().Executed)
	}
}
