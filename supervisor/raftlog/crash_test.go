// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// writerEnv makes the test binary the child of TestKilledWriter, which writes to this directory.
const writerEnv = "RAFTLOG_TEST_WRITER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeForEver opens the log and appends, one line of output for each Append that has returned: the index.
func writeForEver(dir string) error {
	l, r, err := Open(dir, db1)
	if err != nil {
		return err
	}
	last := r.Snapshot.GetMetadata().GetIndex() + uint64(len(r.Entries))
	for i := last + 1; ; i++ {
		var snap *raftpb.Snapshot
		if i%50 == 0 {
			snap = snapshot(i-10, 1, strings.Repeat("s", int(i)%9000))
		}
		if err := l.Append(hard(i, i%7+1, i-1), []*raftpb.Entry{entry(i, 1, strings.Repeat("x", int(i)%700))}, snap); err != nil {
			return err
		}
		if _, err := fmt.Println(i); err != nil {
			return err
		}
	}
}

// A writer is killed at random moments, the first ones during its very first start. What it had been told is on the disk, and no more than
// one Append beyond that.
func TestKilledWriter(t *testing.T) {
	dir := t.TempDir()
	confirmed := uint64(0)
	for round := range 40 {
		limit := 5 * time.Millisecond << min(round/4, 6)
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), writerEnv+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(rand.N(limit), func() { _ = child.Process.Kill() })
		for lines := bufio.NewReader(out); ; {
			line, err := lines.ReadString('\n')
			if err == io.EOF {
				break // what has no line feed was not said
			}
			if err != nil {
				t.Fatal(err)
			}
			if confirmed, err = strconv.ParseUint(strings.TrimSpace(line), 10, 64); err != nil {
				t.Fatal(err)
			}
		}
		_ = child.Wait() // killed
		timer.Stop()
		l, r, err := Open(dir, db1)
		if err != nil {
			t.Fatalf("round %d, after %d: %v", round, confirmed, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		last := r.Snapshot.GetMetadata().GetIndex() + uint64(len(r.Entries))
		if last != confirmed && last != confirmed+1 {
			t.Fatalf("round %d: confirmed %d, restored %d", round, confirmed, last)
		}
		if last == 0 {
			continue
		}
		if got := r.HardState; got.GetTerm() != last || got.GetVote() != last%7+1 || got.GetCommit() != last-1 {
			t.Fatalf("round %d: restored %v at %d", round, got, last)
		}
		for _, e := range r.Entries {
			if len(e.GetData()) != int(e.GetIndex())%700 {
				t.Fatalf("round %d: entry %d has %d bytes", round, e.GetIndex(), len(e.GetData()))
			}
		}
		confirmed = last
	}
	if confirmed < 100 {
		t.Errorf("only %d appends in all rounds", confirmed)
	}
	t.Logf("%d appends", confirmed)
}
