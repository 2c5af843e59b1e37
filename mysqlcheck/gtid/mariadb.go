// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"
)

// domain is the transactions of one gtid_domain_id: which sequence numbers, and
// what is known of who wrote them.
type domain struct {
	id        uint32
	intervals intervals
	tips      []tip // by number, then server; each number is in intervals
}

// tip is a transaction whose server is known: the last of that server in the
// domain, or one of several that claim the same number.
type tip struct {
	server uint32
	seq    uint64
}

func (t tip) compare(u tip) int {
	return cmp.Or(cmp.Compare(t.seq, u.seq), cmp.Compare(t.server, u.server))
}

func (d domain) compare(e domain) int { return cmp.Compare(d.id, e.id) }

func (d domain) isEmpty() bool { return len(d.intervals) == 0 }

func (d domain) contains(e domain) bool {
	if !d.intervals.contains(e.intervals) {
		return false
	}
	missing, _ := e.beyond(d)
	return len(missing) == 0
}

// subtract returns what d has and e lacks. Where d and e are two branches of
// a history, that is all of d's branch as far as it is known.
func (d domain) subtract(e domain) domain {
	if e.contains(d) {
		return domain{}
	}
	missing, dBranch := d.beyond(e)
	_, eBranch := e.beyond(d)
	return domain{
		id:        d.id,
		intervals: d.intervals.subtract(e.intervals).union(dBranch).union(eBranch.intersect(d.intervals)),
		tips:      normalTips(missing),
	}
}

// intersect returns what d and e surely share: the smaller one, or nothing of
// either branch.
func (d domain) intersect(e domain) domain {
	switch dHasE, eHasD := d.contains(e), e.contains(d); {
	case dHasE && !eHasD:
		return e
	case eHasD && !dHasE:
		return d
	}
	dOnly, dBranch := d.beyond(e)
	eOnly, eBranch := e.beyond(d)
	shared := domain{
		id:        d.id,
		intervals: d.intervals.intersect(e.intervals).subtract(dBranch).subtract(eBranch),
	}
	for _, known := range [...]struct{ tips, only []tip }{{d.tips, dOnly}, {e.tips, eOnly}} {
		for _, t := range known.tips {
			_, inside := shared.intervals.has(t.seq)
			if _, only := slices.BinarySearchFunc(known.only, t, tip.compare); inside && !only {
				shared.tips = append(shared.tips, t)
			}
		}
	}
	shared.tips = normalTips(shared.tips)
	return shared
}

// union returns the larger of d and e: who wrote the numbers below its end is
// its business. Where neither is larger, as with a difference and what it was
// taken from, the one that ends later says who wrote what, unless they have
// diverged: then the ends of both are kept.
func (d domain) union(e domain) domain {
	if d.isEmpty() {
		return e
	}
	if e.isEmpty() {
		return d
	}
	dHasE, eHasD := d.contains(e), e.contains(d)
	switch {
	case dHasE && !eHasD:
		return d
	case eHasD && !dHasE:
		return e
	}
	both := domain{id: d.id, intervals: d.intervals.union(e.intervals)}
	if d.last() != e.last() {
		both.tips = d.tips
		if d.last() < e.last() {
			both.tips = e.tips
		}
		if both.contains(d) && both.contains(e) {
			return both
		}
	}
	both.tips = normalTips(slices.Concat(d.tips, e.tips))
	return both
}

// last returns the largest number of a domain that is not empty.
func (d domain) last() uint64 { return d.intervals[len(d.intervals)-1].last }

// beyond returns the tips of d that e does not hold and, of the numbers that
// both have, those that d may have from another server: d's branch.
func (d domain) beyond(e domain) (missing []tip, branch intervals) {
	if len(d.tips) == 0 {
		return nil, nil
	}
	known := index(e.tips)
	var other []interval
	for i, t := range d.tips {
		from, held := known.find(t, disputed(d.tips, i))
		if _, inside := e.intervals.has(t.seq); !inside {
			missing = append(missing, t)
		} else if !held {
			missing = append(missing, t)
			other = append(other, interval{from, t.seq})
		}
	}
	return missing, normal(other).intersect(d.intervals)
}

// tipIndex finds tips by server and by number.
type tipIndex struct {
	tips []tip
	last map[uint32]uint64 // by server: its largest number
}

func index(tips []tip) tipIndex {
	x := tipIndex{tips, make(map[uint32]uint64, len(tips))}
	for _, t := range tips {
		x.last[t.server] = t.seq
	}
	return x
}

// find reports whether a domain with these tips, and t's number, may hold t
// itself. If not, its numbers from..t.seq are from other servers than t's, as
// far as is known. A disputed number, claimed by several servers, is held only
// if this very claim is.
func (x tipIndex) find(t tip, disputed bool) (from uint64, held bool) {
	i, found := slices.BinarySearchFunc(x.tips, t, tip.compare)
	if found {
		return 0, true
	}
	last, listed := x.last[t.server]
	if listed && last < t.seq {
		return last + 1, false
	}
	// Of the tips around t only those with another number say who wrote the
	// numbers between them.
	below := i
	for below > 0 && x.tips[below-1].seq == t.seq {
		below--
	}
	taken := below < i || i < len(x.tips) && x.tips[i].seq == t.seq
	between := !listed && below > 0 && i < len(x.tips)
	switch {
	case !disputed && !taken && !between:
		return 0, true
	case below > 0:
		return x.tips[below-1].seq + 1, false
	default:
		return t.seq, false
	}
}

// disputed reports whether another tip has the number of tips[i].
func disputed(tips []tip, i int) bool {
	seq := tips[i].seq
	return i > 0 && tips[i-1].seq == seq || i+1 < len(tips) && tips[i+1].seq == seq
}

// normalTips sorts tips, in place, and drops what a later tip of the same server
// implies, but for disputed numbers.
func normalTips(tips []tip) []tip {
	if len(tips) < 2 {
		return tips
	}
	slices.SortFunc(tips, tip.compare)
	tips = slices.Compact(tips)
	last := index(tips).last
	var out []tip
	for i, t := range tips {
		if disputed(tips, i) || last[t.server] == t.seq {
			out = append(out, t)
		}
	}
	return out
}

// ParseMariaDB reads a position (gtid_slave_pos, gtid_current_pos, Gtid_IO_Pos,
// gtid_binlog_pos) or a state (gtid_binlog_state): domain-server-sequence,
// separated by commas, and also the text of differences that String prints.
// As in the server, white space and a plus sign may precede each number, nothing
// may follow one, and number 0 is no transaction. The largest number of a domain
// is taken for its last, as gtid_strict_mode=ON guarantees.
func ParseMariaDB(s string) (Set, error) {
	p := mariadbParser{scanner: scanner{text: s}, index: make(map[uint32]int)}
	if err := p.parse(); err != nil {
		return Set{}, p.errorf("MariaDB GTID position", err)
	}
	return Set{domains: p.normal()}, nil
}

type mariadbParser struct {
	scanner
	domains []domain
	index   map[uint32]int // into domains
}

func (p *mariadbParser) parse() error {
	if p.atEnd() {
		return nil
	}
	for {
		if err := p.element(); err != nil {
			return err
		}
		if p.atEnd() {
			return nil
		}
		if !p.accept(',') {
			return errors.New("expected a comma or the end")
		}
	}
}

// element reads domain-server-last or domain-server-first..last, where server
// may be an asterisk in the latter.
func (p *mariadbParser) element() error {
	id, err := p.signed(math.MaxUint32)
	if err != nil {
		return err
	}
	if !p.accept('-') {
		return errors.New("expected a hyphen after the domain")
	}
	unknown := p.accept('*')
	var server uint64
	if !unknown {
		if server, err = p.signed(math.MaxUint32); err != nil {
			return err
		}
	}
	if !p.accept('-') {
		return errors.New("expected a hyphen after the server")
	}
	first, last, err := p.numbers()
	switch {
	case err != nil:
		return err
	case unknown && first == 0:
		return errors.New("expected a range after the asterisk")
	case last == 0:
		return nil
	}
	d := p.domain(uint32(id))
	d.intervals = append(d.intervals, interval{max(first, 1), last})
	if !unknown {
		d.tips = append(d.tips, tip{uint32(server), last})
	}
	return nil
}

// numbers reads last, with 0 for first, or first..last.
func (p *mariadbParser) numbers() (first, last uint64, err error) {
	if last, err = p.signed(math.MaxUint64); err != nil || !p.accept('.') {
		return 0, last, err
	}
	if !p.accept('.') {
		return 0, 0, errors.New("expected two dots")
	}
	first = last
	if last, err = p.signed(math.MaxUint64); err != nil {
		return 0, 0, err
	}
	if first == 0 || last < first {
		return 0, 0, errors.New("expected an ascending range from 1 or more")
	}
	return first, last, nil
}

// signed reads a number as the server does.
func (p *mariadbParser) signed(limit uint64) (uint64, error) {
	p.skip()
	p.accept('+')
	return p.number(limit)
}

func (p *mariadbParser) domain(id uint32) *domain {
	i, known := p.index[id]
	if !known {
		i = len(p.domains)
		p.index[id] = i
		p.domains = append(p.domains, domain{id: id})
	}
	return &p.domains[i]
}

func (p *mariadbParser) normal() []domain {
	for i := range p.domains {
		d := &p.domains[i]
		d.intervals = normal(d.intervals)
		d.tips = normalTips(d.tips)
	}
	slices.SortFunc(p.domains, domain.compare)
	return p.domains
}

// append writes each tip with the range that ends with it, as a position where
// that begins at 1, and the rest of each interval with an asterisk.
func (d domain) append(b []byte) []byte {
	separate := false
	write := func(server string, first, last uint64) {
		if separate {
			b = append(b, ',')
		}
		separate = true
		b = strconv.AppendUint(b, uint64(d.id), 10)
		b = append(b, '-')
		b = append(b, server...)
		b = append(b, '-')
		if first > 1 || server == "*" {
			b = strconv.AppendUint(b, first, 10)
			b = append(b, ".."...)
		}
		b = strconv.AppendUint(b, last, 10)
	}
	tips := d.tips
	for _, iv := range d.intervals {
		rest := iv.first
		for len(tips) > 0 && tips[0].seq <= iv.last {
			first := uint64(1)
			if iv.first > 1 {
				first = min(rest, tips[0].seq)
			}
			write(strconv.FormatUint(uint64(tips[0].server), 10), first, tips[0].seq)
			rest = tips[0].seq + 1
			tips = tips[1:]
		}
		// The second condition is for the largest number, where rest is 0.
		if rest <= iv.last && rest > 0 {
			write("*", rest, iv.last)
		}
	}
	return b
}
