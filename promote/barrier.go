// SPDX-License-Identifier: Apache-2.0

package promote

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
)

const (
	// barrierPatience is how long a barrier's own commit may take to get into the
	// binary log. Behind commits that wait for an acknowledgement it may never
	// get there (MariaDB), and the barrier is as good without it.
	barrierPatience = 200 * time.Millisecond
	// makingPatience is the same for the very first one, which makes the table: where
	// nothing waits for an acknowledgement yet, only the machine can be slow.
	makingPatience = 1500 * time.Millisecond
	// barrierThreads is how many commits of barriers may wait on a server for their
	// acknowledgement.
	barrierThreads = 16
	// barrierRows are the rows in which barriers are written, from the second on:
	// a row stays locked for as long as its commit waits.
	barrierRows = 200
)

// Point is a point in a server's binary log, after all that was in it when a
// barrier was begun.
type Point struct {
	// Set is what a server has received that has received everything up to the
	// point, also what waits for its acknowledgement.
	Set gtid.Set
	// Heartbeat is the commit that was begun for it, a part of Set. It is empty if
	// that could not get into the log yet, and on MariaDB while it waits for its
	// acknowledgement, when the server does not tell its number.
	Heartbeat gtid.Set
	// Fresh says that the commit is in the log, so whoever holds Set has received
	// something since the barrier was begun.
	Fresh bool
}

// Barrier finds points in a server's binary log, with one heartbeat commit each.
type Barrier struct {
	server        *Server
	schema, table string // quoted

	mu      sync.Mutex // one Pass at a time
	last    *heartbeat
	waiting []uint64 // connections whose commits waited when they were last looked at
}

// heartbeat is one commit, on a connection of its own.
type heartbeat struct {
	id     uint64             // of the connection
	giveUp context.CancelFunc // closes our end of it; the server's waits on
	done   chan struct{}      // closed when it has ended
	making atomic.Bool        // the first of all: it makes the table, in transactions of their own
	err    error              // then
	gtid   string             // then, on MariaDB
}

// NewBarrier returns a Barrier that writes into the heartbeat table, given as
// schema.table.
func NewBarrier(s *Server, table string) *Barrier {
	schema, table, _ := strings.Cut(table, ".")
	return &Barrier{server: s, schema: quoteName(schema), table: quoteName(schema) + "." + quoteName(table)}
}

// Pass begins a heartbeat commit and returns a point after it, and after all that
// was in the binary log when Pass was called, as soon as the commit is in the
// binary log; it does not wait for its acknowledgement. Whoever has received
// the point's Set has received all of that. So when nobody but k members can
// acknowledge any more, and these have received the Set of a Pass begun since,
// then nothing was acknowledged that they have not.
//
// gtid_executed would not do: it does not show commits that wait for their
// acknowledgement, and one of these may have got it just now. MySQL shows them
// in gtid_owned, which is read before gtid_executed, so that one on its way from
// one to the other is seen twice and not never. MariaDB's gtid_binlog_state has
// them from the moment they are written.
//
// The commit is for freshness, not for safety, and Pass does without it where it
// does not get into the log: while commits wait, MariaDB writes two groups of
// them and no more (10.11.19; MySQL writes all). It has a second use: a replica
// that had received all that waits when it came back acknowledges none of it
// before something new comes (both flavours).
func (b *Barrier) Pass(ctx context.Context) (Point, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c, err := b.server.connect(ctx)
	if err != nil {
		return Point{}, fmt.Errorf("barrier: %w", err)
	}
	defer c.close()
	p, err := b.pass(ctx, c)
	if err != nil {
		return Point{}, fmt.Errorf("barrier: %w", err)
	}
	return p, nil
}

func (b *Barrier) pass(ctx context.Context, c *session) (Point, error) {
	began, err := b.begin(ctx, c)
	if err != nil {
		return Point{}, err
	}
	started := mysqlcheck.Boottime()
	for {
		var ended bool
		select {
		case <-b.last.done:
			ended = true
		default:
		}
		p, err := c.logEnd(ctx, b.last.id)
		making := b.last.making.Load() // after the log: what it makes is in there before it has made all
		switch {
		case err != nil:
			return Point{}, err
		case ended && began:
			if b.last.err != nil {
				return Point{}, b.last.err
			}
			p.Fresh = true
			if b.last.gtid != "" {
				p.Heartbeat, err = gtid.Parse(b.last.gtid)
			}
			return p, err
		case !began:
			p.Fresh, p.Heartbeat = false, gtid.Set{}
			return p, nil
		case making && mysqlcheck.Boottime() < started+makingPatience:
			// A commit that waits for its acknowledgement while it makes the table locks it, so
			// whoever has commits wait after this point must find it made.
		case p.Fresh, mysqlcheck.Boottime() >= started+barrierPatience:
			return p, nil
		}
		if err := sleep(ctx, pollMin); err != nil {
			return Point{}, err
		}
	}
}

// begin begins a heartbeat, unless too many wait on the server.
func (b *Barrier) begin(ctx context.Context, c *session) (began bool, err error) {
	if b.last != nil {
		select {
		case <-b.last.done:
		default:
			b.waiting = append(b.waiting, b.last.id)
			b.last.giveUp()
			<-b.last.done
		}
	}
	if len(b.waiting) >= barrierThreads {
		var still []uint64
		for _, id := range b.waiting {
			if _, ok, err := mysqlcheck.Session(ctx, c.conn, c.version, id); err != nil {
				return false, err
			} else if ok {
				still = append(still, id)
			}
		}
		if b.waiting = still; len(still) >= barrierThreads {
			return false, nil
		}
	}
	own, err := b.server.connect(ctx)
	if err != nil {
		return false, err
	}
	// Nobody waits for it: it ends with its acknowledgement, or when the next one
	// is begun.
	beatCtx, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	beat := &heartbeat{id: own.id, giveUp: giveUp, done: make(chan struct{})}
	b.last = beat
	go func() {
		defer close(beat.done)
		defer giveUp()
		beat.gtid, beat.err = b.write(beatCtx, own, &beat.making)
		own.close()
	}()
	return true, nil
}

// write writes a row. It is not the one of the commit probe, which that keeps
// locked while it waits for its own acknowledgement.
func (b *Barrier) write(ctx context.Context, c *session, making *atomic.Bool) (gtid string, err error) {
	affected, err := b.insert(ctx, c)
	if n := errorNumber(err); n == erNoSuchTable || n == erNoSuchSchema {
		making.Store(true)
		defer making.Store(false)
		// These are transactions too, and the first of them is the barrier.
		for _, statement := range []mysqlcheck.Statement{mysqlcheck.StmtHeartbeatSchema, mysqlcheck.StmtHeartbeatTable} {
			if _, err := b.exec(ctx, c, statement); err != nil {
				return "", err
			}
		}
		making.Store(false)
		affected, err = b.insert(ctx, c)
	}
	if err != nil {
		return "", err
	}
	if affected == 0 {
		return "", errReadOnly
	}
	if _, ok := c.version.SQL(mysqlcheck.StmtLastWritten); ok {
		err = c.queryRow(ctx, mysqlcheck.StmtLastWritten, nil, &gtid)
	}
	return gtid, err
}

func (b *Barrier) insert(ctx context.Context, c *session) (affected int64, err error) {
	node := b.server.cfg.Node
	return b.exec(ctx, c, mysqlcheck.StmtBarrierWrite, 2+c.id%barrierRows, node, node)
}

// exec does not remember what it gave up, as session.exec does: it may wait on.
func (b *Barrier) exec(ctx context.Context, c *session, s mysqlcheck.Statement, args ...any) (affected int64, err error) {
	query, err := c.text(s)
	if err != nil {
		return 0, err
	}
	query = strings.NewReplacer("{schema}", b.schema, "{table}", b.table).Replace(query)
	result, err := c.conn.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", s, err)
	}
	return result.RowsAffected()
}

const erNoSuchSchema = 1049 // ER_BAD_DB_ERROR

// errReadOnly says that a barrier was begun on a server that refuses writes.
var errReadOnly = errors.New("server is read-only")

// logEnd reads what is in the binary log, and whether the commit of the session
// id, which has not ended, is.
func (c *session) logEnd(ctx context.Context, id uint64) (Point, error) {
	var p Point
	if _, ok := c.version.SQL(mysqlcheck.StmtOwned); !ok {
		t, ok, err := mysqlcheck.Session(ctx, c.conn, c.version, id)
		if err != nil {
			return Point{}, err
		}
		st, err := c.state(ctx)
		if err != nil {
			return Point{}, err
		}
		return Point{Set: st.executed, Fresh: ok && t.WaitsForAck()}, nil
	}
	var text string
	if err := c.queryRow(ctx, mysqlcheck.StmtOwned, nil, &text); err != nil {
		return Point{}, err
	}
	owned, own, err := parseOwned(text, id)
	if err != nil {
		return Point{}, err
	}
	st, err := c.state(ctx)
	if err != nil {
		return Point{}, err
	}
	p.Set, p.Heartbeat, p.Fresh = st.executed.Union(owned), own, !own.IsEmpty()
	return p, nil
}

// ownerPattern is an owner in gtid_owned.
var ownerPattern = regexp.MustCompile(`#[0-9]+`)

// parseOwned reads gtid_owned, a set in which each number is followed by # and
// the connection that owns it: all of it, and what the connection id owns.
func parseOwned(text string, id uint64) (all, own gtid.Set, err error) {
	if all, err = gtid.Parse(ownerPattern.ReplaceAllString(text, "")); err != nil {
		return gtid.Set{}, gtid.Set{}, fmt.Errorf("read gtid_owned: %w", err)
	}
	mark := fmt.Sprintf("#%d", id)
	for _, source := range strings.Split(text, ",") {
		parts := strings.Split(source, ":")
		prefix := strings.TrimSpace(parts[0])
		for _, part := range parts[1:] {
			part = strings.TrimSpace(part)
			number, owners, ok := strings.Cut(part, "#")
			if !ok {
				prefix += ":" + part // a tag
				continue
			}
			if _, err := strconv.ParseUint(number, 10, 63); err != nil {
				return gtid.Set{}, gtid.Set{}, fmt.Errorf("read gtid_owned: %q has an owner and is no transaction number", part)
			}
			if !strings.Contains("#"+owners+"#", mark+"#") {
				continue
			}
			set, err := gtid.Parse(prefix + ":" + number)
			if err != nil {
				return gtid.Set{}, gtid.Set{}, fmt.Errorf("read gtid_owned: %w", err)
			}
			own = own.Union(set)
		}
	}
	return all, own, nil
}

// Holding is what a server holds of a [Point].
type Holding struct {
	// Received says that it has received all of it, and Missing what it has not.
	Received bool
	Missing  gtid.Set
	// Young says that the server process has run for too short a time to be
	// believed: Received is false whatever it holds.
	Young bool
	// StartID names the run of the server process that said so. One that has
	// restarted since may have lost of it what it had not applied: with GTIDs
	// both flavours empty the relay log then (docs/design.md §5).
	StartID string
	// ReceiverState is the default channel's.
	ReceiverState string
}

// youngUptime is the uptime below which a server is not believed. A start id is
// a second, and a MariaDB that crashes is back within the same one (measured): so
// what it said before and what it says afterwards would bear the same id. From
// here on a later run has a later second.
const youngUptime = 2 * time.Second

// Received reports whether this server holds the point of a barrier on its
// source: applied, or in the relay log of this run of the server process.
func (s *Server) Received(ctx context.Context, point gtid.Set) (Holding, error) {
	c, err := s.connect(ctx)
	if err != nil {
		return Holding{}, fmt.Errorf("read what was received: %w", err)
	}
	defer c.close()
	var name string
	var uptime uint64 // seconds
	if err := c.queryRow(ctx, mysqlcheck.StmtUptime, nil, &name, &uptime); err != nil {
		return Holding{}, fmt.Errorf("read what was received: %w", err)
	}
	// On the same connection: of the same run.
	p, _, err := c.position(ctx)
	if err != nil {
		return Holding{}, fmt.Errorf("read what was received: %w", err)
	}
	h := Holding{
		Missing: point.Subtract(p.Received), Young: uptime < uint64(youngUptime/time.Second),
		StartID: p.StartID, ReceiverState: p.ReceiverState,
	}
	h.Received = p.Received.Contains(point) && !h.Young
	return h, nil
}
