// SPDX-License-Identifier: Apache-2.0

package mysqlcheck

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"highwater/mysqlcheck/gtid"
)

// ProbeConfig says which server to look at, and how.
type ProbeConfig struct {
	Conn ConnConfig // its ReadTimeout is not used
	// Timeout bounds a Sample, and the wait of a Commit (check.timeout);
	// default 1 s.
	Timeout time.Duration
	// CommitTimeout is how long a commit may make no progress before it counts
	// as hung (check.commit_timeout); default 5 s.
	CommitTimeout time.Duration
	// SettingsInterval and CountersInterval are how often [Settings] and
	// [Counters] are read again; default 10 s and 1 s.
	SettingsInterval, CountersInterval time.Duration
	// Heartbeat is the table of the commit probe as schema.table; default
	// "highwater.heartbeat". It is made when it is missing.
	Heartbeat string
	// Node is written to the heartbeat row.
	Node string
	// Process tells what the host knows of the server process, such as
	// [Watcher.Process]; nil: nothing.
	Process func() Process
	// Now reads CLOCK_BOOTTIME; nil: the kernel's.
	Now func() time.Duration
}

// Probe looks at one server. At rest it holds one connection for Sample and, on
// a primary, one for Commit; a third is opened only while the first does not
// answer, to tell a statement that waits from a server that hangs. Sample and
// Commit may run at once, two Samples may not.
type Probe struct {
	cfg    ProbeConfig
	main   *lane
	spare  *lane
	writer *committer

	disk disk

	// What Sample remembers. Flights own no part of it: they return values.
	startID       string
	executed      parsed
	slavePosition parsed
	purged        parsed
	received      parsed
	logStart      gtid.Set // MariaDB: where the oldest binary log begins
	replication   Replication
	replicationAt time.Duration
	events        eventClock
	settings      Settings
	settingsAt    time.Duration
	counters      Counters
	countersAt    time.Duration
}

// NewProbe returns a Probe. It connects when it is first used.
func NewProbe(c ProbeConfig) *Probe {
	c.Timeout = orDefault(c.Timeout, time.Second)
	c.CommitTimeout = orDefault(c.CommitTimeout, 5*time.Second)
	c.SettingsInterval = orDefault(c.SettingsInterval, 10*time.Second)
	c.CountersInterval = orDefault(c.CountersInterval, time.Second)
	if c.Heartbeat == "" {
		c.Heartbeat = "highwater.heartbeat"
	}
	if c.Now == nil {
		c.Now = Boottime
	}
	p := &Probe{
		cfg:   c,
		main:  newLane(c.Conn, flightLimit, nil),
		spare: newLane(c.Conn, flightLimit, nil),
	}
	p.spare.db.SetConnMaxIdleTime(5 * time.Second)
	p.writer = newCommitter(c, p.spare)
	return p
}

// Close ends all connections, also those on which a statement is in flight.
func (p *Probe) Close() {
	p.main.close()
	p.spare.close()
	p.writer.lane.close()
}

// Boottime reads CLOCK_BOOTTIME, which does not stand still while the host is
// suspended.
func Boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("mysqlcheck: clock_gettime(CLOCK_BOOTTIME): " + err.Error()) // in Linux since 2.6.39
	}
	return time.Duration(ts.Nano())
}

// Sample looks at the server once, for at most the configured Timeout or until
// ctx ends. It returns no error: what failed is in the Sample.
func (p *Probe) Sample(ctx context.Context, want Expectation) Sample {
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Timeout)
	defer cancel()
	s := Sample{At: p.cfg.Now(), Want: want}

	state, onMain, err := p.readState(ctx)
	s.Failure = Classify(err)
	if s.Failure.Class == NoFailure {
		if err := p.take(state, &s); err != nil {
			s.Failure = Failure{Class: Answered, Reason: ReasonProbeFailed, Text: err.Error()}
		}
	}
	if s.Failure.Class == NoFailure && s.Version.Supported() == nil {
		p.readReplication(ctx, onMain, &s)
		p.readCounters(ctx, onMain, &s)
		p.readSettings(ctx, onMain, &s)
	}
	s.Replication, s.ReplicationAt = p.replication.later(s.At-p.replicationAt), p.replicationAt
	s.Settings, s.SettingsAt = p.settings, p.settingsAt
	s.Counters, s.CountersAt = p.counters, p.countersAt
	s.Commit = p.writer.lastResult()
	// Last, because a server that has just ended is why its connection did.
	if p.cfg.Process != nil {
		s.Process = p.cfg.Process()
	}
	s.Storage = p.disk.look(p.settings.DataDir, s.Process, p.cfg.Conn.network() == "unix")
	s.Took = p.cfg.Now() - s.At
	return s
}

// state is the row of StmtState and who gave it.
type state struct {
	version                          Version
	serverUUID, startID              string
	readOnly, superReadOnly, offline string
	executed, purged, slavePosition  string
}

// read runs StmtState.
func (st *state) read(ctx context.Context, s *session) error {
	st.version, st.serverUUID, st.startID = s.version, s.serverUUID, s.startID
	text, ok := s.version.SQL(StmtState)
	if !ok {
		return fmt.Errorf("%w: %q", ErrUnsupported, s.version.Raw)
	}
	if err := s.QueryRowContext(ctx, text).Scan(&st.readOnly, &st.superReadOnly, &st.offline,
		&st.executed, &st.purged, &st.slavePosition); err != nil {
		return fmt.Errorf("read the server's state: %w", err)
	}
	return nil
}

// readState asks on the main connection and, when that does not answer within
// half of the time, on a second one as well; the first answer wins. It reports
// whether the main connection is free for more.
func (p *Probe) readState(ctx context.Context) (*state, bool, error) {
	onMain := &state{}
	ask, free := p.main.start(onMain.read)
	if free {
		err := ask.waitFor(ctx, p.cfg.Timeout/2)
		if err != nil && Classify(err).Class == Dropped && ctx.Err() == nil {
			// Somebody killed the connection, or the server is ending: a new
			// connection tells which.
			if ask, free = p.main.start(onMain.read); free {
				err = ask.waitFor(ctx, p.cfg.Timeout/2)
			}
		}
		if !errors.Is(err, errNoAnswerYet) {
			return onMain, true, err
		}
	}
	onSpare := &state{}
	for {
		second, started := p.spare.start(onSpare.read)
		select {
		case <-ask.done:
			if free {
				return onMain, true, ask.err
			}
			// That was the answer to an earlier question, whose asker is gone.
			err := p.main.do(ctx, onMain.read)
			return onMain, err == nil, err
		case <-second.done:
			if started {
				return onSpare, false, second.err
			}
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// take puts the state into the sample. A new server process makes everything
// that was remembered of the last one void.
func (p *Probe) take(st *state, s *Sample) error {
	if st.startID != p.startID {
		p.startID = st.startID
		p.replication, p.replicationAt = Replication{}, 0
		p.settings, p.settingsAt = Settings{}, 0
		p.counters, p.countersAt = Counters{}, 0
		p.events = eventClock{}
		p.logStart = gtid.Set{}
	}
	s.Version, s.ServerUUID, s.StartID = st.version, st.serverUUID, st.startID
	s.ReadOnly, s.SuperReadOnly, s.OfflineMode = on(st.readOnly), on(st.superReadOnly), on(st.offline)

	var err error
	if s.Executed, err = p.executed.set(st.version, st.executed); err != nil {
		return fmt.Errorf("parse gtid_executed: %w", err)
	}
	if st.version.Flavor == MariaDB {
		position, err := p.slavePosition.set(st.version, st.slavePosition)
		if err != nil {
			return fmt.Errorf("parse gtid_slave_pos: %w", err)
		}
		s.Executed = s.Executed.Union(position)
		s.Purged = p.logStart
		return nil
	}
	if s.Purged, err = p.purged.set(st.version, st.purged); err != nil {
		return fmt.Errorf("parse gtid_purged: %w", err)
	}
	return nil
}

// parsed remembers the last text and its set: on an idle server the text stays
// the same from sample to sample.
type parsed struct {
	text  string
	value gtid.Set
}

func (p *parsed) set(v Version, text string) (gtid.Set, error) {
	if text == p.text {
		return p.value, nil
	}
	parse := gtid.ParseMySQL
	if v.Flavor == MariaDB {
		parse = gtid.ParseMariaDB
	}
	value, err := parse(text)
	if err != nil {
		return gtid.Set{}, err
	}
	p.text, p.value = text, value
	return value, nil
}
