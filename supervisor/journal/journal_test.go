// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var testWall = time.Date(2026, 1, 2, 3, 4, 5, 600, time.UTC)

func open(t testing.TB, dir string, change func(*Config)) *Writer {
	t.Helper()
	cfg := Config{
		Dir: dir, BootID: "boot-1", Incarnation: "run-1", SyncEvery: time.Hour,
		Wall: func() time.Time { return testWall }, Now: func() time.Duration { return 99 },
	}
	if change != nil {
		change(&cfg)
	}
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close(context.Background()) })
	return w
}

func mustSync(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, w *Writer) {
	t.Helper()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func event(i int) json.RawMessage { return json.RawMessage(fmt.Sprintf(`{"type":"timer","n":%d}`, i)) }

// summary shows the journal in dir as one line: plain numbers for records, what gaps and damage say otherwise.
func summary(t testing.TB, dir string) string {
	t.Helper()
	var out []string
	for r, err := range ReadDir(dir) {
		var damage *DamageError
		var gap Gap
		switch {
		case errors.As(err, &damage):
			out = append(out, fmt.Sprintf("damage@%d", damage.Line))
		case err != nil:
			t.Fatal(err)
		case json.Unmarshal(r.Event, &gap) == nil && gap.Type == GapType:
			out = append(out, fmt.Sprintf("%d:gap(dropped=%d,torn=%d,error=%v)", r.Seq, gap.Dropped, gap.Torn, gap.Error != ""))
		default:
			out = append(out, fmt.Sprint(r.Seq))
		}
	}
	return strings.Join(out, " ")
}

func TestAppendAndRead(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, nil)
	seq, ok := w.Append(5*time.Second, event(1), []json.RawMessage{[]byte(`{"type":"send_advert"}`), []byte(`{"type":"record"}`)})
	if seq != 1 || !ok {
		t.Errorf("append = %d, %v", seq, ok)
	}
	w.Append(6*time.Second, event(2), nil)
	mustSync(t, w)
	text, err := os.ReadFile(filepath.Join(dir, current))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":1,"at":5000000000,"wall":"2026-01-02T03:04:05.0000006Z","boot_id":"boot-1","incarnation":"run-1","event":{"type":"timer","n":1},"actions":[{"type":"send_advert"},{"type":"record"}]}
{"seq":2,"at":6000000000,"wall":"2026-01-02T03:04:05.0000006Z","boot_id":"boot-1","incarnation":"run-1","event":{"type":"timer","n":2}}
`
	if string(text) != want {
		t.Errorf("file:\n%s", text)
	}
	for r, err := range ReadDir(dir) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq == 1 && (r.At != 5*time.Second || !r.Wall.Equal(testWall) || len(r.Actions) != 2 || string(r.Event) != string(event(1))) {
			t.Errorf("record = %+v", r)
		}
	}
	if s := w.Stats(); s.Written != 2 || s.Dropped != 0 || s.Queued != 0 || s.Errors != 0 || s.LastError != "" {
		t.Errorf("stats = %+v", s)
	}
}

func TestNumbersGoOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	for run := range 3 {
		w := open(t, dir, nil)
		for i := range 2 {
			w.Append(0, event(run*2+i), nil)
		}
		mustClose(t, w)
	}
	if got := summary(t, dir); got != "1 2 3 4 5 6" {
		t.Error(got)
	}
}

func TestTornEnd(t *testing.T) {
	for name, tail := range map[string]string{
		"half a record":       `{"seq":3,"at":1,"wa`,
		"a whole one unended": `{"seq":3,"at":1,"event":{}}`,
		"zeros":               strings.Repeat("\x00", 200_000),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w := open(t, dir, nil)
			w.Append(0, event(1), nil)
			w.Append(0, event(2), nil)
			mustClose(t, w)
			f, err := os.OpenFile(filepath.Join(dir, current), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteString(tail); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if got := summary(t, dir); got != "1 2" { // a reader beside the writer
				t.Error(got)
			}
			w = open(t, dir, nil)
			w.Append(0, event(4), nil)
			mustClose(t, w)
			if got, want := summary(t, dir), fmt.Sprintf("1 2 3:gap(dropped=0,torn=%d,error=false) 4", len(tail)); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestDamagedLines(t *testing.T) {
	dir := t.TempDir()
	text := `{"seq":7,"event":{"type":"a"}}
not json
{"seq":8,"event":{"type":"b"}}
{"event":{"type":"no number"}}
` + strings.Repeat("x", MaxRecord+2) + `
{"seq":9,"event":{"type":"c"}}
`
	if err := os.WriteFile(filepath.Join(dir, current), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := summary(t, dir); got != "7 damage@2 8 damage@4 damage@5 9" {
		t.Error(got)
	}
	w := open(t, dir, nil)
	if seq, _ := w.Append(0, event(1), nil); seq != 10 {
		t.Errorf("goes on with %d", seq)
	}
	for _, err := range ReadDir(dir) {
		if err != nil && !strings.Contains(err.Error(), "journal.jsonl:2: parse record") {
			t.Errorf("error = %v", err)
		}
		if err != nil {
			break
		}
	}
}

// Only garbage in the newest file: the journal is evidence, so that is no reason not to start, and the archive has the number.
func TestGarbageDoesNotPreventTheStart(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{archiveName(41): `{"seq":41,"event":{}}` + "\n", current: "garbage\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := open(t, dir, nil)
	w.Append(0, event(1), nil)
	mustClose(t, w)
	if got := summary(t, dir); got != "41 damage@1 42" {
		t.Error(got)
	}
}

func TestRotation(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, func(c *Config) { c.MaxSize, c.MaxFiles = 300, 3 })
	for i := range 20 {
		w.Append(0, event(i), nil)
		mustSync(t, w) // one by one: a batch goes into one file
	}
	names, err := files(dir)
	if err != nil || len(names) != 3 || names[2] != current {
		t.Fatalf("files = %v, %v", names, err)
	}
	got := strings.Fields(summary(t, dir))
	if got[len(got)-1] != "20" || len(got) < 5 || len(got) > 9 {
		t.Errorf("kept %v", got)
	}
	mustClose(t, w)
	// Killed between the rename and the first record: the number is in the archive.
	if err := os.Rename(filepath.Join(dir, current), filepath.Join(dir, archiveName(20))); err != nil {
		t.Fatal(err)
	}
	w = open(t, dir, nil)
	if seq, _ := w.Append(0, event(1), nil); seq != 21 {
		t.Errorf("goes on with %d", seq)
	}
}

func TestAppendNeverBlocks(t *testing.T) {
	dir := t.TempDir()
	hold := make(chan struct{})
	held := make(chan struct{})
	w := open(t, dir, func(c *Config) { c.Queue = 4 })
	go func() { // the writing goroutine, as if in a hanging write: it waits to answer a sync
		answer := make(chan error)
		w.syncs <- answer
		close(held)
		<-hold
		<-answer
	}()
	<-held
	var dropped int
	for i := range 10 {
		if _, ok := w.Append(0, event(i), nil); !ok {
			dropped++
		}
	}
	if dropped < 5 || w.Stats().Dropped != uint64(dropped) {
		t.Errorf("dropped %d, counted %d", dropped, w.Stats().Dropped)
	}
	close(hold)
	eventually(t, func() bool { return w.Stats().Queued == 0 })
	seq, ok := w.Append(0, event(11), nil)
	if !ok || seq != 11 {
		t.Fatalf("append = %d, %v", seq, ok)
	}
	mustClose(t, w)
	if got := summary(t, dir); !strings.HasSuffix(got, fmt.Sprintf("10:gap(dropped=%d,torn=0,error=false) 11", dropped)) {
		t.Error(got)
	}
}

func eventually(t testing.TB, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened")
		}
	}
}

func TestFailedWriteIsAGap(t *testing.T) {
	dir := t.TempDir()
	w := open(t, dir, nil)
	w.Append(0, event(1), nil)
	mustSync(t, w)
	good := w.file.f // the goroutine is idle, and Append hands over to it
	readOnly, err := os.Open(filepath.Join(dir, current))
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	w.file.f = readOnly
	w.Append(0, event(2), nil)
	w.Append(0, event(3), nil)
	if err := w.Sync(t.Context()); err == nil {
		t.Error("sync hides a failed write")
	}
	w.file.f = good
	w.Append(0, event(4), nil)
	mustSync(t, w)
	if got := summary(t, dir); got != "1 3:gap(dropped=2,torn=0,error=true) 4" {
		t.Error(got)
	}
	if s := w.Stats(); s.Dropped != 2 || s.Written != 2 || s.LastError == "" {
		t.Errorf("stats = %+v", s)
	}
	// One that cannot be encoded at the very end leaves its mark when the journal is closed.
	w.Append(0, json.RawMessage(`{`), nil)
	mustClose(t, w)
	if got := summary(t, dir); !strings.HasSuffix(got, "4 5:gap(dropped=1,torn=0,error=true)") {
		t.Error(got)
	}
}

func TestClosed(t *testing.T) {
	w := open(t, t.TempDir(), nil)
	mustClose(t, w)
	mustClose(t, w)
	if _, ok := w.Append(0, event(1), nil); ok {
		t.Error("appended after close")
	}
	if err := w.Sync(t.Context()); err == nil {
		t.Error("synced after close")
	}
}

func TestOpenNeedsTheDirectory(t *testing.T) {
	if _, err := Open(Config{Dir: filepath.Join(t.TempDir(), "absent")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v", err)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte(`{"seq":1,"event":{}}` + "\n" + `{"seq":2`))
	f.Add([]byte("\n\n\x00"))
	f.Fuzz(func(t *testing.T, text []byte) {
		lines := strings.Count(string(text), "\n")
		n := 0
		for r, err := range Records(strings.NewReader(string(text)), "fuzz") {
			n++
			var damage *DamageError
			if err == nil && r.Seq == 0 || err != nil && !errors.As(err, &damage) {
				t.Fatalf("record %+v, %v", r, err)
			}
		}
		if n != lines {
			t.Fatalf("%d lines gave %d results", lines, n)
		}
	})
}

// BenchmarkAppend is what a record costs all told, encoding and disk included: when the queue is full it waits for the disk.
func BenchmarkAppend(b *testing.B) {
	w := open(b, b.TempDir(), nil)
	e, actions := event(1), []json.RawMessage{event(2)}
	for b.Loop() {
		if _, ok := w.Append(0, e, actions); !ok {
			mustSync(b, w)
		}
	}
}
