// SPDX-License-Identifier: Apache-2.0

package raftlog

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Format is the version of the records below and of the marker.
const Format = 1

// Two buckets: what rarely changes lies apart, so that an Append does not write it again.
const (
	bucketBase = "base" // identity, snapshot
	bucketLog  = "log"  // state, entries
)

var (
	keyIdentity = []byte("identity")
	keySnapshot = []byte("snapshot")
	keyState    = []byte("state") // sorts behind the entries and so shares the last page with the newest of them
)

const entryPrefix = 'e'

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Identity says whose log it is.
type Identity struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
}

// named is an Identity with the random name of one log.
type named struct {
	Identity
	ID string `json:"id"`
}

// seal appends a checksum, CRC-32C of seed, key and payload. The seed chains a record to another one.
func seal(seed uint32, key, payload []byte) []byte {
	return binary.BigEndian.AppendUint32(payload, checksum(seed, key, payload))
}

func checksum(seed uint32, key, payload []byte) uint32 {
	c := crc32.Update(0, castagnoli, binary.BigEndian.AppendUint32(nil, seed))
	c = crc32.Update(c, castagnoli, key)
	return crc32.Update(c, castagnoli, payload)
}

// unseal returns what was sealed, and its checksum.
func unseal(seed uint32, key, value []byte) (payload []byte, sum uint32, err error) {
	if len(value) < 4 {
		return nil, 0, fmt.Errorf("%d bytes", len(value))
	}
	payload, sum = value[:len(value)-4], sumOf(value)
	if checksum(seed, key, payload) != sum {
		return nil, 0, errors.New("checksum differs")
	}
	return payload, sum, nil
}

// sumOf is the checksum in a sealed value.
func sumOf(value []byte) uint32 { return binary.BigEndian.Uint32(value[len(value)-4:]) }

// entryKey sorts by index.
func entryKey(index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{entryPrefix}, index)
}

// state is the record that every transaction writes.
type state struct {
	Txid                uint64 // of the transaction that wrote it
	Term, Vote, Commit  uint64 // raft's HardState
	SnapIndex, SnapTerm uint64 // of the snapshot; the first entry is the next one
	Last, LastTerm      uint64 // index and term of the last entry, or of the snapshot
	Base                uint32 // what the first entry's checksum continues
	Chain               uint32 // checksum of the last entry, or Base
	SnapSum             uint32 // checksum of the snapshot's record
	HasSnap             bool
}

func (s *state) hard() bool { return s.Term|s.Vote|s.Commit != 0 }

// fresh: nothing was ever appended.
func (s *state) fresh() bool { return !s.hard() && s.Last == 0 && !s.HasSnap }

func (s *state) encode() []byte {
	b, err := binary.Append(nil, binary.BigEndian, s)
	if err != nil {
		panic(err) // fixed size
	}
	return seal(0, keyState, b)
}

func decodeState(value []byte) (s state, err error) {
	payload, _, err := unseal(0, keyState, value)
	if err != nil {
		return s, err
	}
	n, err := binary.Decode(payload, binary.BigEndian, &s)
	if err == nil && n != len(payload) {
		err = errors.New("bytes after the end")
	}
	return s, err
}

// whole checks what must be true of any state that raft can be started with.
func (s *state) whole() error {
	switch {
	case s.Last < s.SnapIndex:
		return fmt.Errorf("log ends at %d, before the snapshot at %d", s.Last, s.SnapIndex)
	case s.LastTerm < s.SnapTerm:
		return fmt.Errorf("last entry is of term %d, the snapshot of %d", s.LastTerm, s.SnapTerm)
	case !s.hard():
		return nil
	case s.Commit > s.Last:
		return fmt.Errorf("commit %d is beyond the log, which ends at %d", s.Commit, s.Last)
	case s.Commit < s.SnapIndex:
		return fmt.Errorf("commit %d is before the snapshot at %d", s.Commit, s.SnapIndex)
	case s.Term < s.LastTerm:
		return fmt.Errorf("term %d is before that of the last entry, %d", s.Term, s.LastTerm)
	}
	return nil
}

// encodeIdentity begins with the format, which stays there in every format to come.
func encodeIdentity(id named) ([]byte, error) {
	payload, err := json.Marshal(id)
	if err != nil {
		return nil, err
	}
	return seal(0, keyIdentity, append([]byte{Format}, payload...)), nil
}

func decodeIdentity(value []byte) (id named, err error) {
	payload, _, err := unseal(0, keyIdentity, value)
	if err != nil {
		return id, err
	}
	if len(payload) == 0 || payload[0] != Format {
		return id, fmt.Errorf("%w: %d", errVersion, payload[:min(1, len(payload))])
	}
	return id, decodeStrictly(payload[1:], &id)
}

func decodeStrictly(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields() // what a later release says may matter
	return d.Decode(v)
}

// contents gathers the records of a file while its pages are verified.
type contents struct {
	state    *state
	identity *named
	snapshot *raftpb.Snapshot
	snapSum  uint32
	entries  []rawEntry
}

type rawEntry struct{ key, value []byte }

// take is called with each record. Entries wait for the state, which comes behind them.
func (c *contents) take(bucket string, key, value []byte) (err error) {
	switch {
	case bucket == bucketLog && key[0] == entryPrefix:
		c.entries = append(c.entries, rawEntry{key, value})
		return nil
	case bucket == bucketLog && bytes.Equal(key, keyState):
		var s state
		s, err = decodeState(value)
		c.state = &s
	case bucket == bucketBase && bytes.Equal(key, keyIdentity):
		var id named
		id, err = decodeIdentity(value)
		c.identity = &id
	case bucket == bucketBase && bytes.Equal(key, keySnapshot):
		var payload []byte
		payload, c.snapSum, err = unseal(0, keySnapshot, value)
		c.snapshot = new(raftpb.Snapshot)
		if err == nil {
			err = proto.Unmarshal(payload, c.snapshot)
		}
	default:
		return fmt.Errorf("unknown record %q in bucket %q", key, bucket)
	}
	if err != nil {
		return fmt.Errorf("record %s: %w", key, err)
	}
	return nil
}

// restore puts the records together, or says what does not fit. Txid is the file's last transaction.
func (c *contents) restore(txid uint64) (Restored, error) {
	var r Restored
	if c.state == nil || c.identity == nil {
		return r, errors.New("state or identity is missing")
	}
	s := *c.state
	switch {
	case s.Txid != txid:
		return r, fmt.Errorf("state is of transaction %d, the last one was %d", s.Txid, txid)
	case s.HasSnap != (c.snapshot != nil) || s.SnapSum != c.snapSum:
		return r, errors.New("snapshot is not the one that belongs to the state")
	case c.snapshot.GetMetadata().GetIndex() != s.SnapIndex || c.snapshot.GetMetadata().GetTerm() != s.SnapTerm:
		return r, fmt.Errorf("snapshot is of index %d, expected %d", c.snapshot.GetMetadata().GetIndex(), s.SnapIndex)
	}
	if err := s.whole(); err != nil {
		return r, err
	}
	index, term, sum := s.SnapIndex, s.SnapTerm, s.Base
	for _, raw := range c.entries {
		index++
		if !bytes.Equal(raw.key, entryKey(index)) {
			return r, fmt.Errorf("entry %d is missing", index)
		}
		payload, next, err := unseal(sum, raw.key, raw.value)
		if err != nil {
			return r, fmt.Errorf("entry %d: %w", index, err)
		}
		e := new(raftpb.Entry)
		if err := proto.Unmarshal(payload, e); err != nil {
			return r, fmt.Errorf("entry %d: %w", index, err)
		}
		if e.GetIndex() != index || e.GetTerm() < term {
			return r, fmt.Errorf("entry %d says index %d, term %d after %d", index, e.GetIndex(), e.GetTerm(), term)
		}
		term, sum = e.GetTerm(), next
		r.Entries = append(r.Entries, e)
	}
	if index != s.Last || term != s.LastTerm || sum != s.Chain {
		return r, fmt.Errorf("log ends with entry %d of term %d, expected %d of %d", index, term, s.Last, s.LastTerm)
	}
	if s.hard() {
		r.HardState = &raftpb.HardState{Term: new(s.Term), Vote: new(s.Vote), Commit: new(s.Commit)}
	}
	r.Snapshot, r.ID, r.Fresh = c.snapshot, c.identity.ID, s.fresh()
	return r, nil
}
