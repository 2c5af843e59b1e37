// SPDX-License-Identifier: Apache-2.0

package gtid

import (
	"errors"
	"fmt"
	"strings"
)

// space is what isspace(3) calls white space in the C locale.
const space = " \t\n\v\f\r"

// scanner reads tokens from text.
type scanner struct {
	text string
	pos  int
}

func (p *scanner) atEnd() bool { return p.pos == len(p.text) }

// peek returns the next byte, 0 at the end.
func (p *scanner) peek() byte {
	if p.atEnd() {
		return 0
	}
	return p.text[p.pos]
}

// upTo returns the next n bytes, fewer at the end.
func (p *scanner) upTo(n int) string {
	return p.text[p.pos:min(p.pos+n, len(p.text))]
}

func (p *scanner) skip() {
	for !p.atEnd() && strings.IndexByte(space, p.text[p.pos]) >= 0 {
		p.pos++
	}
}

func (p *scanner) accept(c byte) bool {
	if p.atEnd() || p.text[p.pos] != c {
		return false
	}
	p.pos++
	return true
}

// number reads decimal digits.
func (p *scanner) number(limit uint64) (uint64, error) {
	if !isDigit(p.peek()) {
		return 0, errors.New("expected a number")
	}
	var n uint64
	for isDigit(p.peek()) {
		digit := uint64(p.peek() - '0')
		if n > (limit-digit)/10 {
			return 0, fmt.Errorf("number above %d", limit)
		}
		n = n*10 + digit
		p.pos++
	}
	return n, nil
}

// errorf adds to err where in the text it happened. The text itself may be
// megabytes and comes from outside: it is quoted and cut.
func (p *scanner) errorf(what string, err error) error {
	return fmt.Errorf("parse %s at byte %d (%.24q): %w", what, p.pos, p.upTo(24), err)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
