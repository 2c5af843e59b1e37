// SPDX-License-Identifier: Apache-2.0

package election

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Encode writes the record as the quorum stores it: one form for one record. A record that breaks
// its own rules is an error.
func (r ClusterRecord) Encode() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, fmt.Errorf("encode cluster record: %w", err)
	}
	b, err := json.Marshal(r)
	if err == nil {
		_, err = decodeClusterRecord(b) // text that is no UTF-8 would not come back
	}
	if err != nil {
		return nil, fmt.Errorf("encode cluster record: %w", err)
	}
	return b, nil
}

// DecodeClusterRecord reads what [ClusterRecord.Encode] wrote, white space aside, and nothing
// else: what one host reads as another record than the next must not be agreed on.
func DecodeClusterRecord(b []byte) (ClusterRecord, error) {
	r, err := decodeClusterRecord(b)
	if err != nil {
		return ClusterRecord{}, fmt.Errorf("decode cluster record: %w", err)
	}
	return r, nil
}

func decodeClusterRecord(b []byte) (ClusterRecord, error) {
	var version struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return ClusterRecord{}, err
	}
	if version.Version != ClusterRecordVersion {
		return ClusterRecord{}, fmt.Errorf("version %d: this program knows version %d", version.Version, ClusterRecordVersion)
	}
	if err := plainKeys(b); err != nil {
		return ClusterRecord{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var r ClusterRecord
	if err := dec.Decode(&r); err != nil {
		return ClusterRecord{}, err
	}
	if err := r.Validate(); err != nil {
		return ClusterRecord{}, err
	}
	// What is left: null, absent and empty values, another order, escapes.
	var got bytes.Buffer
	if err := json.Compact(&got, b); err != nil {
		return ClusterRecord{}, err
	}
	want, err := json.Marshal(r)
	if err != nil {
		return ClusterRecord{}, err
	}
	if !bytes.Equal(got.Bytes(), want) {
		return ClusterRecord{}, fmt.Errorf("not in its one form: %s", difference(got.Bytes(), want))
	}
	return r, nil
}

// plainKeys refuses keys that package json would let through: twice in an object, or in capitals.
func plainKeys(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	type level struct {
		object bool
		value  bool // the next token of an object is a value
		keys   []string
	}
	var levels []level
	for {
		token, err := dec.Token()
		if err != nil {
			return err
		}
		top := len(levels) - 1
		switch t := token.(type) {
		case json.Delim:
			if t == '}' || t == ']' {
				if levels = levels[:top]; len(levels) == 0 {
					return nil
				}
				continue
			}
			if top >= 0 {
				levels[top].value = false
			}
			levels = append(levels, level{object: t == '{'})
		default:
			if top < 0 {
				return errors.New("not an object")
			}
			if key, ok := t.(string); ok && levels[top].object && !levels[top].value {
				if slices.Contains(levels[top].keys, key) {
					return fmt.Errorf("key %q is there twice", key)
				}
				if key != strings.ToLower(key) {
					return fmt.Errorf("key %q is not in lower case", key)
				}
				levels[top].keys = append(levels[top].keys, key)
				levels[top].value = true
				continue
			}
			levels[top].value = false
		}
	}
}

// difference names where got is not want.
func difference(got, want []byte) string {
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	from := max(0, at-10)
	cut := func(b []byte) []byte { return b[min(from, len(b)):min(at+30, len(b))] }
	return fmt.Sprintf("byte %d: have %q, want %q", at, cut(got), cut(want))
}

// Validate returns every rule of the record that r breaks.
func (r ClusterRecord) Validate() error {
	var errs []error
	complain := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	complain(r.Version != ClusterRecordVersion, "version %d: this program knows version %d", r.Version, ClusterRecordVersion)
	for i, m := range r.Members {
		complain(m.Name == "", "a member has no name")
		complain(m.ID == 0, "member %q has no id", m.Name)
		complain(m.ID > r.LastID, "member %q has id %d, above last_id %d", m.Name, m.ID, r.LastID)
		for _, o := range r.Members[:i] {
			complain(o.Name == m.Name, "member %q is there twice", m.Name)
			complain(o.ID == m.ID, "members %q and %q have the same id %d", o.Name, m.Name, m.ID)
		}
	}
	m, known := r.Member(r.Primary)
	complain((r.Term == 0) != (r.Primary == ""), "term %d with primary %q", r.Term, r.Primary)
	complain(r.Primary != "" && (!known || m.Witness), "primary %q is not a member with a server", r.Primary)
	complain(r.Since > r.Term || r.Term > 0 && r.Since == 0, "since %d in term %d", r.Since, r.Term)
	errs = append(errs, validSynced("synced", r.Synced, r.Acks, r.Primary)...)
	for _, s := range r.Synced {
		m, known := r.Member(s.Node)
		complain(!known || m.Witness, "synced node %q is not a member with a server", s.Node)
	}
	complain(r.Left > r.Revision, "left at revision %d in revision %d", r.Left, r.Revision)
	complain(r.Alone && !r.WentAlone, "alone, and not went_alone")
	states := 0
	for _, is := range []bool{len(r.Synced) > 0, r.Alone, r.Kept != nil} {
		if is {
			states++
		}
	}
	complain(r.Term > 0 && states != 1, "of synced, alone and kept %d are there, not one", states)
	complain(r.Term == 0 && states != 0, "no term has begun, and synced, alone or kept is there")
	if k := r.Kept; k != nil {
		complain(k.Primary == "", "kept has no primary")
		complain(k.Term >= max(r.Since, 1), "kept term %d is not below %d", k.Term, r.Since)
		complain(k.Alone == (len(k.Synced) > 0), "kept is alone, or has a synced set: one of them")
		errs = append(errs, validSynced("kept", k.Synced, k.Acks, k.Primary)...)
	}
	if a := r.AcceptedLoss; a != nil {
		complain(a.Term != r.Term, "accepted loss of term %d in term %d", a.Term, r.Term)
		complain(a.By == "", "accepted loss by nobody")
	}
	if p := r.Paused; p != nil {
		complain(p.By == "", "paused by nobody")
		complain(p.Until != 0 && p.Until <= p.Since, "paused until %d, since %d", p.Until, p.Since)
	}
	if h := r.HoldOff; h != nil {
		complain(h.Term == 0 || h.Term > r.Term, "hold-off of term %d in term %d", h.Term, r.Term)
		complain(h.For <= 0 || h.For > maxHoldOff.Milliseconds(), "hold-off for %d ms is not between 1 ms and %v", h.For, maxHoldOff)
		complain(h.At < 0 || h.At > maxWall, "hold-off at %d is no Unix time in ms", h.At)
	}
	complain(len(r.Failovers) > maxFailovers, "%d failovers: at most %d are kept", len(r.Failovers), maxFailovers)
	for i, f := range r.Failovers {
		complain(f.Kind != MoveFailover && f.Kind != MoveSwitchover, "failover of term %d: unknown kind %q", f.Term, f.Kind)
		complain(f.From == "" || f.To == "" || f.From == f.To, "failover of term %d from %q to %q", f.Term, f.From, f.To)
		complain(f.Since == 0 || f.Since > f.Last || f.Last >= f.Term, "failover of term %d from terms %d to %d", f.Term, f.Since, f.Last)
		// Whom it made primary, from when, is who the next one, or the record, starts with.
		then, since := r.Primary, r.Since
		if i+1 < len(r.Failovers) {
			then, since = r.Failovers[i+1].From, r.Failovers[i+1].Since
		}
		complain(f.To != then || f.Term != since, "failover to %q in term %d is followed by %q since term %d", f.To, f.Term, then, since)
	}
	return errors.Join(errs...)
}

// maxWall is the last Unix time in ms that a hold-off may name: in the year 9999.
const maxWall = 253402300799999

func validSynced(what string, list []SyncedNode, acks int, primary string) []error {
	var errs []error
	for i, s := range list {
		switch {
		case s.Node == "":
			errs = append(errs, fmt.Errorf("%s: a node has no name", what))
		case s.Start == "":
			errs = append(errs, fmt.Errorf("%s: the server process of %q is not known", what, s.Node))
		case s.Node == primary:
			errs = append(errs, fmt.Errorf("%s: %q is the primary", what, s.Node))
		case i > 0 && list[i-1].Node >= s.Node:
			errs = append(errs, fmt.Errorf("%s: %q and %q are not in order", what, list[i-1].Node, s.Node))
		}
	}
	if acks < 0 || acks > len(list) || acks == 0 && len(list) > 0 {
		errs = append(errs, fmt.Errorf("%s: acks %d with %d nodes", what, acks, len(list)))
	}
	return errs
}
