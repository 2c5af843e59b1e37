// SPDX-License-Identifier: Apache-2.0

package mysqld

// journal is a log: transactions in the order in which they were written. A position in it counts those before it,
// from the first that anybody wrote there; it grows for ever.
type journal struct {
	runs  []run
	start uint64 // the position before the first run
	end   uint64
}

// run is a number of transactions of one origin, one after the other.
type run struct {
	origin int
	first  uint64 // number of the first
	at     uint64 // the position before it
	n      uint64
}

// add writes n transactions of an origin, the first of that number.
func (j *journal) add(origin int, first, n uint64) {
	if i := len(j.runs) - 1; i >= 0 && j.runs[i].origin == origin && j.runs[i].first+j.runs[i].n == first {
		j.runs[i].n += n
	} else {
		j.runs = append(j.runs, run{origin: origin, first: first, at: j.end, n: n})
	}
	j.end += n
}

// next is the rest of the run that holds the transaction after the position at. hint is where to look first, and what
// to hint the next time.
func (j *journal) next(at uint64, hint *int) (run, bool) {
	if at < j.start || at >= j.end {
		return run{}, false
	}
	i := *hint
	if i >= len(j.runs) || j.runs[i].at > at {
		i = 0
	}
	for j.runs[i].at+j.runs[i].n <= at {
		i++
	}
	*hint = i
	r := j.runs[i]
	skip := at - r.at
	return run{origin: r.origin, first: r.first + skip, at: at, n: r.n - skip}, true
}

// clear forgets all that was written.
func (j *journal) clear() { j.runs, j.start = j.runs[:0], j.end }

// read forgets the first transaction and returns it.
func (j *journal) read() (origin int, number uint64) {
	r := &j.runs[0]
	origin, number = r.origin, r.first
	j.start++
	if r.n--; r.n == 0 {
		j.runs = j.runs[:copy(j.runs, j.runs[1:])]
		return origin, number
	}
	r.first++
	r.at++
	return origin, number
}

func (j *journal) empty() bool { return j.start == j.end }
