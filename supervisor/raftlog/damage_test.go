// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// wellUsed is a log with a history: branch pages, free pages, a snapshot longer than a page. Size is that of the pages in use.
type wellUsed struct {
	log, marker []byte
	size        int64
	want        Restored
}

var makeWellUsed = sync.OnceValue(func() (w wellUsed) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "raftlog")
	must(err)
	defer os.RemoveAll(dir)
	l, r, err := Open(dir, db1)
	must(err)
	w.want.ID = r.ID
	must(l.Append(hard(1, 1, 0), nil, nil))
	for i := range uint64(300) {
		must(l.Append(hard(1, 1, min(i, 290)), []*raftpb.Entry{entry(i+1, 1, strings.Repeat("x", int(i%100)))}, nil))
	}
	must(l.Append(hard(2, 3, 290), []*raftpb.Entry{entry(295, 2, "a"), entry(296, 2, "b")}, nil))
	w.want.Snapshot = snapshot(100, 1, strings.Repeat("state", 2000))
	must(l.Append(nil, nil, w.want.Snapshot))
	w.want.HardState = hard(7, 2, 296)
	must(l.Append(w.want.HardState, nil, nil))
	for i := uint64(101); i <= 294; i++ {
		w.want.Entries = append(w.want.Entries, entry(i, 1, strings.Repeat("x", int(i-1)%100)))
	}
	w.want.Entries = append(w.want.Entries, entry(295, 2, "a"), entry(296, 2, "b"))
	must(l.db.View(func(tx *bbolt.Tx) error { w.size = tx.Size(); return nil }))
	must(l.Close())
	w.log, err = os.ReadFile(filepath.Join(dir, logName))
	must(err)
	w.marker, err = os.ReadFile(filepath.Join(dir, markerName))
	must(err)
	return w
})

// dirWith is a directory with this log and the marker that belongs to it.
func (w wellUsed) dirWith(t testing.TB, log []byte) string {
	t.Helper()
	dir := t.TempDir()
	w.put(t, dir, log)
	return dir
}

func (w wellUsed) put(t testing.TB, dir string, log []byte) {
	t.Helper()
	err := errors.Join(os.WriteFile(filepath.Join(dir, logName), log, 0o640), os.WriteFile(filepath.Join(dir, markerName), w.marker, 0o640))
	if err != nil {
		t.Fatal(err)
	}
}

// parse is what Open does with a file before bbolt sees it.
func parse(log []byte) (Restored, error) {
	var c contents
	txid, err := readPages(bytes.NewReader(log), int64(len(log)), c.take)
	if err != nil {
		return Restored{}, err
	}
	return c.restore(txid)
}

// unharmed: damage is either found or did not touch what was stored. It returns whether it was found.
func unharmed(t testing.TB, what string, log []byte) (found bool) {
	t.Helper()
	r, err := parse(log)
	if err != nil {
		return true
	}
	if diff := same(r, makeWellUsed().want); diff != "" {
		t.Errorf("%s: not noticed: %s", what, diff)
	}
	return false
}

func TestWellUsedLog(t *testing.T) {
	w := makeWellUsed()
	_, r := mustOpen(t, w.dirWith(t, w.log))
	if diff := same(r, w.want); diff != "" {
		t.Fatal(diff)
	}
	if r, err := parse(w.log); err != nil || same(r, w.want) != "" {
		t.Fatalf("parsed %+v, %v", r, err)
	}
}

// A flipped bit is found, or without effect: every bit at the head of each page in use, and samples of the rest.
func TestFlippedBits(t *testing.T) {
	w := makeWellUsed()
	log := bytes.Clone(w.log)
	found := 0
	for i := 0; i < int(w.size); i++ {
		structure := i%pageSize < pageHeader+2*elementSize
		if !structure && i%211 != 0 {
			continue
		}
		for bit := range 8 {
			if !structure && bit != i%8 {
				continue
			}
			log[i] ^= 1 << bit
			if unharmed(t, fmt.Sprintf("byte %d of page %d, bit %d", i%pageSize, i/pageSize, bit), log) {
				found++
			}
			log[i] ^= 1 << bit
		}
	}
	if found == 0 {
		t.Error("nothing was found")
	}
	t.Logf("%d pages, %d flips found", w.size/pageSize, found)
}

func TestDamagedPages(t *testing.T) {
	w := makeWellUsed()
	random := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, pageSize)
	for page := range int(w.size / pageSize) {
		for name, content := range map[string]func() []byte{
			"zeros": func() []byte { return make([]byte, pageSize) },
			"noise": func() []byte {
				for i := range noise {
					noise[i] = byte(random.Uint32())
				}
				return noise
			},
			"the next page": func() []byte { return w.log[(page+1)*pageSize : (page+2)*pageSize] },
			"half zeros": func() []byte {
				return append(bytes.Clone(w.log[page*pageSize:page*pageSize+pageSize/2]), make([]byte, pageSize/2)...)
			},
		} {
			log := bytes.Clone(w.log)
			copy(log[page*pageSize:], content())
			unharmed(t, fmt.Sprintf("page %d replaced by %s", page, name), log)
		}
	}
	// Of the meta pages both are needed: the damaged one may be the newer.
	for page := range 2 {
		log := bytes.Clone(w.log)
		clear(log[page*pageSize : (page+1)*pageSize])
		_, _, err := Open(w.dirWith(t, log), db1)
		wantReason(t, err, ReasonCorrupt)
	}
}

// Open itself, bbolt included, neither crashes nor guesses.
func TestOpenDamaged(t *testing.T) {
	w := makeWellUsed()
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	open := func(what string, log []byte) (refused bool) {
		w.put(t, dir, log)
		l, r, err := Open(dir, db1)
		if err != nil {
			if reason := ReasonOf(err); reason != ReasonCorrupt && reason != ReasonVersion {
				t.Errorf("%s: %v", what, err)
			}
			return true
		}
		if diff := same(r, w.want); diff != "" {
			t.Errorf("%s: not noticed: %s", what, diff)
		}
		// What was not noticed does no harm later either.
		mustAppend(t, l, hard(8, 1, 296), []*raftpb.Entry{entry(297, 8, strings.Repeat("y", 10000))}, nil)
		if err := l.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if l, _, err = Open(dir, db1); err != nil {
			t.Errorf("%s: after another append: %v", what, err)
			return false
		}
		l.Close()
		return false
	}
	for size := 0; size < int(w.size)+pageSize; size += pageSize {
		for _, cut := range []int{size, size + 1, size + 100, size + pageSize/2} {
			refused := open(fmt.Sprintf("cut at %d", cut), w.log[:cut])
			if whole := cut >= int(w.size); refused == whole {
				t.Errorf("cut at %d of %d: refused %v", cut, w.size, refused)
			}
		}
	}
	for page := range int(w.size / pageSize) {
		for range 3 {
			log := bytes.Clone(w.log)
			at := page*pageSize + int(random.Uint32N(pageSize))
			log[at] ^= byte(1 + random.Uint32N(255))
			open(fmt.Sprintf("byte %d of page %d", at%pageSize, page), log)
		}
	}
}

// A disk that loses one write leaves a page that is whole, and old.
func TestLostWrite(t *testing.T) {
	dir := t.TempDir()
	l, _ := mustOpen(t, dir)
	path := filepath.Join(dir, logName)
	read := func() []byte {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	lost := 0
	// Several rounds, so that pages are used again and the old content of one is an old version of the same page.
	for i := range uint64(32) {
		before := read()
		var snap *raftpb.Snapshot
		if i%8 == 7 {
			snap = snapshot(i-2, 1, fmt.Sprint("state at ", i-2))
		}
		mustAppend(t, l, hard(1+i, 1+i%3, i), []*raftpb.Entry{entry(i+1, 1, strings.Repeat("x", int(i*20)))}, snap)
		after := read()
		want, err := parse(after)
		if err != nil {
			t.Fatal(err)
		}
		for page := 0; page < len(after); page += pageSize {
			if page+pageSize > len(before) || bytes.Equal(before[page:page+pageSize], after[page:page+pageSize]) {
				continue
			}
			log := bytes.Clone(after)
			copy(log[page:], before[page:page+pageSize])
			got, err := parse(log)
			switch {
			case page < 2*pageSize: // the meta page: the transaction as a whole was not confirmed
				if err == nil && got.HardState.GetTerm() != i {
					t.Errorf("append %d without its meta page: restored %v", i, got.HardState)
				}
			case err == nil && same(got, want) != "":
				t.Errorf("append %d without page %d: not noticed", i, page/pageSize)
			}
			lost++
		}
	}
	if lost < 64 {
		t.Errorf("only %d writes", lost)
	}
}

// The power fails during an Append: of its pages some sectors are on the disk, in any combination, and the meta page is not. What was
// confirmed before is all there.
func TestPowerCut(t *testing.T) {
	const sector = 512
	dir := t.TempDir()
	l, _ := mustOpen(t, dir)
	random := rand.New(rand.NewPCG(5, 6))
	read := func() []byte {
		text, err := os.ReadFile(filepath.Join(dir, logName))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	before := read()
	for i := range uint64(32) {
		want, err := parse(before)
		if err != nil {
			t.Fatal(err)
		}
		var snap *raftpb.Snapshot
		if i%8 == 7 {
			snap = snapshot(i-2, 1, strings.Repeat("state", 1000))
		}
		mustAppend(t, l, hard(1+i, 1+i%3, i), []*raftpb.Entry{entry(i+1, 1, strings.Repeat("x", int(i*20)))}, snap)
		after := read()
		for round := range 20 {
			log := bytes.Clone(before)
			for at := 2 * pageSize; at < len(after); at += sector {
				if round == 0 || random.IntN(2) == 0 {
					copy(log[at:at+sector], after[at:at+sector])
				}
			}
			got, err := parse(log)
			if err != nil {
				t.Fatalf("append %d, round %d: %v", i, round, err)
			}
			if diff := same(got, want); diff != "" {
				t.Fatalf("append %d, round %d: %s", i, round, diff)
			}
		}
		before = after
	}
}

// rewrite changes records and leaves a file that is whole for bbolt, and whose checksums are right.
func rewrite(t *testing.T, change func(s *state, base, log *bbolt.Bucket) error) string {
	t.Helper()
	w := makeWellUsed()
	dir := w.dirWith(t, w.log)
	f, err := os.OpenFile(filepath.Join(dir, logName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	db, err := openBolt(f, mapped)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		base, log := tx.Bucket([]byte(bucketBase)), tx.Bucket([]byte(bucketLog))
		s, err := decodeState(log.Get(keyState))
		if err != nil {
			return err
		}
		s.Txid = uint64(tx.ID())
		if err := log.Put(keyState, s.encode()); err != nil {
			return err
		}
		before := s
		if err := change(&s, base, log); err != nil || s == before {
			return err
		}
		return log.Put(keyState, s.encode())
	})
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRecordsThatDoNotFit(t *testing.T) {
	type bucket = *bbolt.Bucket
	for name, c := range map[string]struct {
		reason Reason
		change func(s *state, base, log bucket) error
	}{
		"nothing changed":           {"", func(*state, bucket, bucket) error { return nil }},
		"gap":                       {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Delete(entryKey(200)) }},
		"first entry is missing":    {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Delete(entryKey(101)) }},
		"last entry is missing":     {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Delete(entryKey(296)) }},
		"entry under another index": {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Put(entryKey(200), log.Get(entryKey(201))) }},
		"entry too many":            {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Put(entryKey(297), log.Get(entryKey(296))) }},
		"entry that is none":        {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Put(entryKey(200), nil) }},
		"commit beyond the log":     {ReasonCorrupt, func(s *state, _, _ bucket) error { s.Commit = 297; return nil }},
		"commit before snapshot":    {ReasonCorrupt, func(s *state, _, _ bucket) error { s.Commit = 99; return nil }},
		"term before the log's":     {ReasonCorrupt, func(s *state, _, _ bucket) error { s.Term = 1; return nil }},
		"state of long ago":         {ReasonCorrupt, func(s *state, _, _ bucket) error { s.Txid--; return nil }},
		"no state":                  {ReasonCorrupt, func(_ *state, _, log bucket) error { return log.Delete(keyState) }},
		"no snapshot":               {ReasonCorrupt, func(_ *state, base, _ bucket) error { return base.Delete(keySnapshot) }},
		"no identity":               {ReasonCorrupt, func(_ *state, base, _ bucket) error { return base.Delete(keyIdentity) }},
		"unknown record":            {ReasonCorrupt, func(_ *state, base, _ bucket) error { return base.Put([]byte("colour"), []byte("red")) }},
		"another snapshot": {ReasonCorrupt, func(_ *state, base, _ bucket) error {
			return base.Put(keySnapshot, seal(0, keySnapshot, []byte{}))
		}},
		"snapshot of another time": {ReasonCorrupt, func(_ *state, base, _ bucket) error {
			payload, err := proto.Marshal(snapshot(100, 1, "other"))
			return errors.Join(err, base.Put(keySnapshot, seal(0, keySnapshot, payload)))
		}},
		"entry of another time": {ReasonCorrupt, func(_ *state, _, log bucket) error {
			payload, err := proto.Marshal(entry(200, 1, "other"))
			return errors.Join(err, log.Put(entryKey(200), seal(sumOf(log.Get(entryKey(199))), entryKey(200), payload)))
		}},
		"later format": {ReasonVersion, func(_ *state, base, _ bucket) error {
			return base.Put(keyIdentity, seal(0, keyIdentity, []byte{Format + 1, '?'}))
		}},
		"damaged format": {ReasonCorrupt, func(_ *state, base, _ bucket) error {
			return base.Put(keyIdentity, append([]byte{Format + 1}, base.Get(keyIdentity)[1:]...))
		}},
		"another node": {ReasonForeign, func(_ *state, base, _ bucket) error {
			value, err := encodeIdentity(named{Identity: Identity{"orders", "db2"}, ID: makeWellUsed().want.ID})
			return errors.Join(err, base.Put(keyIdentity, value))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _, err := Open(rewrite(t, c.change), db1)
			if c.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				l.Close()
				return
			}
			wantReason(t, err, c.reason)
		})
	}
}

// Faults of the structure that leave each record whole.
func TestStructureThatDoesNotFit(t *testing.T) {
	w := makeWellUsed()
	meta, older := w.log[pageHeader:], pageSize
	if other := w.log[pageSize+pageHeader:]; order.Uint64(other[48:]) > order.Uint64(meta[48:]) {
		meta, older = other, 0
	}
	root, list := order.Uint64(meta[16:]), order.Uint64(meta[32:])*pageSize
	count := order.Uint16(w.log[list+10:])
	if count < 2 || count == countInFirst {
		t.Fatalf("freelist of %d pages", count)
	}
	for name, c := range map[string]struct {
		want   string
		change func(log []byte)
	}{
		"page both used and free": {"used twice", func(log []byte) { order.PutUint64(log[list+pageHeader:], root) }},
		"page free twice": {"used twice", func(log []byte) {
			copy(log[list+pageHeader:], log[list+pageHeader+8:list+pageHeader+16])
		}},
		"page forgotten":        {"neither used nor free", func(log []byte) { order.PutUint16(log[list+10:], count-1) }},
		"page in another place": {"calls itself", func(log []byte) { order.PutUint64(log[root*pageSize:], root+1) }},
		// Nothing that we read changed, but bbolt would go back to the other meta page, and to the vote before.
		"field of a meta page that nobody reads": {"checksum differs", func(log []byte) { log[(pageSize-older)+pageHeader+12] ^= 1 }},
		// The write of a meta page was lost, and the one after it was not.
		"older meta page": {"do not follow", func(log []byte) {
			meta := log[older+pageHeader:]
			order.PutUint64(meta[48:], order.Uint64(meta[48:])-2)
			h := fnv.New64a()
			h.Write(meta[:metaSize-8])
			order.PutUint64(meta[metaSize-8:], h.Sum64())
		}},
	} {
		log := bytes.Clone(w.log)
		c.change(log)
		_, _, err := Open(w.dirWith(t, log), db1)
		wantReason(t, err, ReasonCorrupt)
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bbolt of a later format is not a damaged file.
func TestLaterFileFormat(t *testing.T) {
	w := makeWellUsed()
	log := bytes.Clone(w.log)
	for page := range 2 {
		meta := log[page*pageSize+pageHeader:]
		order.PutUint32(meta[4:], metaVersion+1)
		h := fnv.New64a()
		h.Write(meta[:metaSize-8])
		order.PutUint64(meta[metaSize-8:], h.Sum64())
	}
	_, _, err := Open(w.dirWith(t, log), db1)
	wantReason(t, err, ReasonVersion)
}

// Pages that lead in a circle, or far away, would run bbolt out of stack or memory.
func TestCircles(t *testing.T) {
	w := makeWellUsed()
	branches := 0
	for page := 2; page < int(w.size/pageSize); page++ {
		at := page * pageSize
		if order.Uint16(w.log[at+8:]) != flagBranch || order.Uint64(w.log[at:]) != uint64(page) {
			continue
		}
		branches++
		for _, to := range []uint64{uint64(page), 0, 1, 1 << 40, ^uint64(0)} {
			log := bytes.Clone(w.log)
			order.PutUint64(log[at+pageHeader+8:], to)
			unharmed(t, fmt.Sprintf("branch of page %d leads to %d", page, to), log)
		}
	}
	if branches == 0 {
		t.Fatal("no branch pages")
	}
	for _, count := range []uint64{1 << 20, 1 << 62, ^uint64(0)} {
		log := bytes.Clone(w.log)
		for page := range 2 { // a freelist as long as memory
			list := int(order.Uint64(log[page*pageSize+pageHeader+32:])) * pageSize
			order.PutUint16(log[list+10:], countInFirst)
			order.PutUint64(log[list+pageHeader:], count)
		}
		if _, err := parse(log); err == nil {
			t.Errorf("freelist of %d pages is accepted", count)
		}
	}
}

// The file is cut while it is mapped: the next Append fails, the process lives, and so does Close.
func TestFileCutWhileOpen(t *testing.T) {
	w := makeWellUsed()
	dir := w.dirWith(t, w.log)
	l, _ := mustOpen(t, dir)
	if err := os.Truncate(filepath.Join(dir, logName), 2*pageSize); err != nil {
		t.Fatal(err)
	}
	err := l.Append(hard(9, 1, 296), nil, nil)
	wantReason(t, err, ReasonIO)
	if again := l.Append(hard(10, 1, 296), nil, nil); again != err {
		t.Errorf("the log goes on: %v", again)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	_, _, err = Open(dir, db1)
	wantReason(t, err, ReasonCorrupt)
}

func FuzzDamage(f *testing.F) {
	w := makeWellUsed()
	f.Add(uint32(0), []byte{1})
	f.Add(uint32(pageSize+8), []byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Add(uint32(2*pageSize), binary.BigEndian.AppendUint64(nil, 1<<63))
	f.Fuzz(func(t *testing.T, at uint32, change []byte) {
		log := bytes.Clone(w.log[:w.size])
		at %= uint32(len(log))
		for i, b := range change {
			if j := int(at) + i; j < len(log) {
				log[j] ^= b
			}
		}
		unharmed(t, "fuzzed", log)
	})
}

// FuzzPages looks for a crash alone: a file of any content.
func FuzzPages(f *testing.F) {
	dir, _ := voted(f) // a short one, since the fuzzer is slow with long inputs
	log, err := os.ReadFile(filepath.Join(dir, logName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimRight(log, "\x00"))
	f.Add([]byte(nil))
	f.Fuzz(func(_ *testing.T, log []byte) {
		// With checksums of the metas made right the fuzzer gets behind them.
		for page := range 2 {
			if end := page*pageSize + pageHeader + metaSize; len(log) >= end {
				log = bytes.Clone(log)
				h := fnv.New64a()
				h.Write(log[end-metaSize : end-8])
				order.PutUint64(log[end-8:], h.Sum64())
			}
		}
		_, _ = parse(log)
	})
}
