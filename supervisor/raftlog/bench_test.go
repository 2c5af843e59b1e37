// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"os"
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkAppend is what a vote or a small change of the record costs: one HardState, one entry of 100 bytes, on the disk. The directory is
// that of TMPDIR: on a tmpfs the figure says nothing. Compaction every 256 entries, as in use.
func BenchmarkAppend(b *testing.B) {
	dir, err := os.MkdirTemp("", "raftlog")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, _ := mustOpen(b, dir)
	data := string(make([]byte, 100))
	var took []time.Duration
	for i := uint64(1); b.Loop(); i++ {
		if i%256 == 0 {
			mustAppend(b, l, nil, nil, snapshot(i-10, 1, data))
		}
		start := time.Now()
		mustAppend(b, l, hard(i, 1, i-1), []*raftpb.Entry{entry(i, 1, data)}, nil)
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkOpen is what a start costs with 256 entries.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, _ := mustOpen(b, dir)
	for i := uint64(1); i <= 256; i++ {
		mustAppend(b, l, hard(i, 1, i-1), []*raftpb.Entry{entry(i, 1, string(make([]byte, 100)))}, nil)
	}
	l.Close()
	for b.Loop() {
		l, _, err := Open(dir, db1)
		if err != nil {
			b.Fatal(err)
		}
		l.Close()
	}
}
