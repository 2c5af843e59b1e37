// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	uuidText = 36                // characters of a UUID
	maxTag   = 32                // characters of a tag
	maxGNO   = math.MaxInt64 - 1 // the largest transaction number of MySQL
)

type uuid [16]byte

// source is the transactions of one server_uuid and tag; the tag is lower
// case, and empty for transactions without one.
type source struct {
	uuid      uuid
	tag       string
	intervals intervals
}

func (a source) compare(b source) int {
	if c := bytes.Compare(a.uuid[:], b.uuid[:]); c != 0 {
		return c
	}
	return cmp.Compare(a.tag, b.tag)
}

func (a source) isEmpty() bool { return len(a.intervals) == 0 }

func (a source) union(b source) source {
	if a.isEmpty() {
		return b
	}
	return source{a.uuid, a.tag, a.intervals.union(b.intervals)}
}

func (a source) subtract(b source) source {
	return source{a.uuid, a.tag, a.intervals.subtract(b.intervals)}
}

func (a source) intersect(b source) source {
	return source{a.uuid, a.tag, a.intervals.intersect(b.intervals)}
}

func (a source) contains(b source) bool { return a.intervals.contains(b.intervals) }

// ParseMySQL reads a GTID set as MySQL 9.7 does: UUIDs and tags in any case,
// white space between any two tokens, commas repeated, intervals in any order,
// overlapping, or empty where the end is before the start; a UUID or tag without
// any interval is nothing. It refuses number 0 as a start, numbers above 2^63-2,
// and tags that are not a letter or underscore followed by at most 31 letters,
// digits and underscores.
func ParseMySQL(s string) (Set, error) {
	p := mysqlParser{scanner: scanner{text: s}, index: make(map[sourceKey]int)}
	if err := p.parse(); err != nil {
		return Set{}, p.errorf("MySQL GTID set", err)
	}
	return Set{sources: p.normal()}, nil
}

type sourceKey struct {
	uuid uuid
	tag  string
}

type mysqlParser struct {
	scanner
	sources []source
	index   map[sourceKey]int // into sources
}

func (p *mysqlParser) parse() error {
	for {
		for p.skip(); p.accept(','); p.skip() {
		}
		if p.atEnd() {
			return nil
		}
		if err := p.element(); err != nil {
			return err
		}
		p.skip()
		if !p.atEnd() && p.peek() != ',' {
			return errors.New("expected a colon, a comma or the end")
		}
	}
}

// element reads uuid[:tag]...[:interval]..., where an interval belongs to the
// tag before it.
func (p *mysqlParser) element() error {
	id, err := p.uuid()
	if err != nil {
		return err
	}
	key := sourceKey{uuid: id}
	for p.skip(); p.accept(':'); p.skip() {
		p.skip()
		if isTagStart(p.peek()) {
			if key.tag, err = p.tag(); err != nil {
				return err
			}
			continue
		}
		first, last, err := p.interval()
		if err != nil {
			return err
		}
		if first <= last {
			p.add(key, interval{first, last})
		}
	}
	return nil
}

func (p *mysqlParser) tag() (string, error) {
	start := p.pos
	for isTagStart(p.peek()) || isDigit(p.peek()) {
		p.pos++
	}
	if p.pos-start > maxTag {
		return "", errors.New("tag longer than 32 characters")
	}
	return strings.ToLower(p.text[start:p.pos]), nil
}

func (p *mysqlParser) interval() (first, last uint64, err error) {
	if first, err = p.number(maxGNO); err != nil {
		return 0, 0, err
	}
	if first == 0 {
		return 0, 0, errors.New("transaction number 0")
	}
	p.skip()
	if !p.accept('-') {
		return first, first, nil
	}
	p.skip()
	last, err = p.number(maxGNO)
	return first, last, err
}

func (p *mysqlParser) add(key sourceKey, iv interval) {
	i, known := p.index[key]
	if !known {
		i = len(p.sources)
		p.index[key] = i
		p.sources = append(p.sources, source{uuid: key.uuid, tag: key.tag})
	}
	p.sources[i].intervals = append(p.sources[i].intervals, iv)
}

func (p *mysqlParser) normal() []source {
	for i := range p.sources {
		p.sources[i].intervals = normal(p.sources[i].intervals)
	}
	slices.SortFunc(p.sources, source.compare)
	return p.sources
}

// uuid reads the three forms that the server takes: as server_uuid prints it,
// that in braces, and 32 digits alone.
func (p *mysqlParser) uuid() (uuid, error) {
	if id, err := parseUUID(p.upTo(uuidText)); err == nil {
		p.pos += uuidText
		return id, nil
	}
	if braced := p.upTo(uuidText + 2); len(braced) == uuidText+2 && braced[0] == '{' && braced[uuidText+1] == '}' {
		if id, err := parseUUID(braced[1 : 1+uuidText]); err == nil {
			p.pos += len(braced)
			return id, nil
		}
	}
	if id, err := parseDigits(p.upTo(2 * len(uuid{}))); err == nil {
		p.pos += 2 * len(uuid{})
		return id, nil
	}
	return uuid{}, errUUID
}

var errUUID = errors.New("expected a UUID")

// parseUUID reads the 36 characters that server_uuid has, in any case.
func parseUUID(s string) (uuid, error) {
	if len(s) != uuidText || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return uuid{}, errUUID
	}
	return parseDigits(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
}

func parseDigits(s string) (uuid, error) {
	var id uuid
	if len(s) != 2*len(id) {
		return uuid{}, errUUID
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return uuid{}, errUUID
	}
	return id, nil
}

func (id uuid) append(b []byte) []byte {
	for i, group := range [...][]byte{id[:4], id[4:6], id[6:8], id[8:10], id[10:]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, group)
	}
	return b
}

func appendSources(b []byte, sources []source) []byte {
	for i, src := range sources {
		if i == 0 || src.uuid != sources[i-1].uuid {
			if i > 0 {
				b = append(b, ',')
			}
			b = src.uuid.append(b)
		}
		if src.tag != "" {
			b = append(b, ':')
			b = append(b, src.tag...)
		}
		for _, iv := range src.intervals {
			b = append(b, ':')
			b = strconv.AppendUint(b, iv.first, 10)
			if iv.last > iv.first {
				b = append(b, '-')
				b = strconv.AppendUint(b, iv.last, 10)
			}
		}
	}
	return b
}

func isTagStart(c byte) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
