// SPDX-License-Identifier: Apache-2.0

package mysqld

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"highwater/mysqlcheck"
	"highwater/mysqlcheck/gtid"
	"highwater/test/lab"
)

const (
	// patience is how long a fact may take to become so; a server may have to start for it.
	patience = 20 * time.Second
	// hold is how long a fact that must not change is watched.
	hold = 150 * time.Millisecond
	// again is longer than a receiver's pause between two attempts to connect.
	again = 1200 * time.Millisecond
	// asked is how long one statement may take that waits for nobody.
	asked = 5 * time.Second
)

const replicationPassword = "secret"

// realServer is a server that a script speaks to.
type realServer struct {
	*lab.Server
	name    string
	id      string // server_uuid; on MariaDB server_id
	version mysqlcheck.Version
	clients *sql.DB // of an account that read-only binds

	frozen         bool
	applierStopped bool
	readOnly       *client   // the statement that switches it on
	begun          []*client // commits, in their order, that have no number yet
	written        uint64    // the number of the last commit in the log that has one
}

// client is a connection that runs one statement.
type client struct {
	server *realServer
	label  string
	id     uint64
	conn   *sql.Conn
	leave  context.CancelFunc
	done   chan struct{}
	err    error  // then
	left   bool   // by itself
	number uint64 // of its transaction, once it is known
}

func (c *client) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// real is three real servers.
type real struct {
	servers [3]*realServer
	commits map[string]*client
	ctx     context.Context
}

// startReal starts three servers, each with an account for every other one's receiver.
func startReal(ctx context.Context, dir string, flavor lab.Flavor) (*real, error) {
	r := &real{ctx: ctx}
	var wait sync.WaitGroup
	errs := make([]error, len(servers))
	for i, name := range servers {
		wait.Go(func() { r.servers[i], errs[i] = startOne(ctx, filepath.Join(dir, name), name, flavor) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *real) close() {
	for _, s := range r.servers {
		if s != nil {
			if s.clients != nil {
				_ = s.clients.Close()
			}
			s.Close()
		}
	}
}

func startOne(ctx context.Context, dir, name string, flavor lab.Flavor) (*realServer, error) {
	server, err := lab.StartServer(ctx, lab.ServerConfig{Flavor: flavor, Dir: dir, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	s := &realServer{Server: server, name: name}
	if s.version, err = mysqlcheck.ServerVersion(ctx, s.DB()); err != nil {
		return s, err
	}
	statements := []string{
		"SET SESSION sql_log_bin = 0", "SET GLOBAL read_only = OFF",
		"CREATE DATABASE d", "CREATE TABLE d.t (s VARCHAR(20) PRIMARY KEY) ENGINE=InnoDB",
		"CREATE USER app@'%' IDENTIFIED BY 'app'", "GRANT ALL ON d.* TO app@'%'",
	}
	for _, replica := range servers {
		statements = append(statements, fmt.Sprintf("CREATE USER 'repl-%s'@'%%' IDENTIFIED BY '%s'", replica, replicationPassword),
			fmt.Sprintf("GRANT REPLICATION SLAVE ON *.* TO 'repl-%s'@'%%'", replica))
	}
	if err := s.Exec(ctx, statements...); err != nil {
		return s, err
	}
	what := "SELECT @@server_uuid"
	if s.mariadb() {
		what = "SELECT @@server_id"
	}
	if s.id, err = s.QueryString(ctx, what); err != nil {
		return s, err
	}
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.Passwd, config.DBName = "unix", s.Socket(), "app", "app", "d"
	config.Timeout, config.Logger = asked, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return s, err
	}
	s.clients = sql.OpenDB(connector)
	s.clients.SetMaxIdleConns(0)
	return s, nil
}

func (s *realServer) mariadb() bool { return s.Config().Flavor.IsMariaDB() }

// sql turns MySQL's words into MariaDB's, where s is one.
func (s *realServer) sql(statement string) string {
	if !s.mariadb() {
		return statement
	}
	return strings.NewReplacer("CHANGE REPLICATION SOURCE", "CHANGE MASTER", "REPLICA ", "SLAVE ", "SOURCE_", "MASTER_", "super_read_only", "read_only",
		"rpl_semi_sync_source", "rpl_semi_sync_master", "rpl_semi_sync_replica", "rpl_semi_sync_slave",
		"RESET BINARY LOGS AND GTIDS", "RESET MASTER").Replace(statement)
}

// exec runs statements that wait for nobody, one after the other, on one connection.
func (r *real) exec(s *realServer, statements ...string) error {
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	for i, statement := range statements {
		statements[i] = s.sql(statement)
	}
	return s.Exec(ctx, statements...)
}

// unlogged is exec for what stays out of the binary log. MySQL changes no account below super_read_only.
func (r *real) unlogged(s *realServer, statements ...string) error {
	all := []string{"SET SESSION sql_log_bin = 0"}
	super := "0"
	if !s.mariadb() {
		var err error
		if super, err = r.get(s, "SELECT @@global.super_read_only"); err != nil {
			return err
		}
	}
	if super == "1" {
		all = append(all, "SET GLOBAL super_read_only = OFF")
	}
	all = append(all, statements...)
	if super == "1" {
		all = append(all, "SET GLOBAL super_read_only = ON")
	}
	return r.exec(s, append(all, "SET SESSION sql_log_bin = 1")...)
}

func (r *real) get(s *realServer, query string) (string, error) {
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	return s.QueryString(ctx, s.sql(query))
}

// start runs a statement that may wait.
func (r *real) start(s *realServer, db *sql.DB, statement string) (*client, error) {
	c := &client{server: s, done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	var err error
	if c.conn, err = db.Conn(ctx); err != nil {
		return nil, err
	}
	if err := c.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&c.id); err != nil {
		return nil, err
	}
	ctx, c.leave = context.WithCancel(r.ctx)
	go func() {
		defer close(c.done)
		_, c.err = c.conn.ExecContext(ctx, statement)
		_ = c.conn.Close()
	}()
	return c, nil
}

// do runs an action.
func (r *real) do(st step) error {
	s := r.servers[st.server]
	if st.op == "settle" {
		time.Sleep(again)
		return nil
	}
	if s.frozen && st.op != "thaw" && st.op != "kill" {
		return errStopped
	}
	var other *realServer
	for _, i := range st.others() {
		other = r.servers[i]
	}
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	switch st.op {
	case "open":
		if s.readOnly != nil && !s.readOnly.ended() {
			if err := r.exec(s, fmt.Sprintf("KILL %d", s.readOnly.id)); err != nil {
				return err
			}
			<-s.readOnly.done
		}
		return r.exec(s, "SET GLOBAL read_only = OFF")
	case "read-only":
		c, err := r.start(s, s.DB(), s.sql("SET GLOBAL super_read_only = ON"))
		if err != nil {
			return err
		}
		s.readOnly = c
		return r.until(func() (bool, error) {
			if c.ended() {
				return true, c.err
			}
			return r.hangs(c)
		})
	case "commit NEW":
		return r.commit(s, st.label)
	case "leave LABEL":
		c := r.commits[st.label]
		c.left = true
		c.leave()
		<-c.done
		return nil
	case "kill sessions":
		return r.kill(s, isClient)
	case "boot":
		return s.Start(ctx)
	case "kill":
		s.Kill()
		s.frozen, s.applierStopped = false, false
		return nil
	case "terminate":
		s.applierStopped = false
		return s.Shutdown(ctx)
	case "freeze":
		s.frozen = true
		return s.Stop()
	case "thaw":
		s.frozen = false
		return s.Cont()
	case "source N":
		return r.exec(s, append(r.acks(s, st.n), "SET GLOBAL rpl_semi_sync_source_enabled = ON")...)
	case "source off":
		return r.exec(s, "SET GLOBAL rpl_semi_sync_source_enabled = OFF")
	case "acks N":
		return r.exec(s, r.acks(s, st.n)...)
	case "lock SERVER":
		return r.unlogged(s, fmt.Sprintf("ALTER USER 'repl-%s'@'%%' ACCOUNT LOCK", other.name))
	case "unlock SERVER":
		return r.unlogged(s, fmt.Sprintf("ALTER USER 'repl-%s'@'%%' ACCOUNT UNLOCK", other.name))
	case "kill dump SERVER":
		return r.kill(s, func(t mysqlcheck.ServerThread) bool { return t.IsDump() && t.User == "repl-"+other.name })
	case "follow SERVER":
		s.applierStopped = false
		return r.follow(s, other)
	case "reset replica":
		return r.exec(s, "STOP REPLICA ", "RESET REPLICA ALL")
	case "start receiver":
		if s.applierStopped {
			return r.exec(s, "START REPLICA IO_THREAD")
		}
		return r.exec(s, "START REPLICA ")
	case "stop receiver":
		if s.mariadb() { // see mysqlcheck.StmtBoundStop
			return r.exec(s, "SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout = 1", "STOP REPLICA IO_THREAD")
		}
		return r.exec(s, "STOP REPLICA IO_THREAD")
	case "start applier":
		s.applierStopped = false
		return r.exec(s, "START REPLICA SQL_THREAD")
	case "stop applier":
		s.applierStopped = true
		return r.exec(s, "STOP REPLICA SQL_THREAD")
	case "acknowledge on", "acknowledge off":
		return r.exec(s, "SET GLOBAL rpl_semi_sync_replica_enabled = "+strings.TrimPrefix(st.op, "acknowledge "))
	case "acknowledge received":
		return r.acknowledgeReceived(s)
	}
	return errors.New("the servers have no such action")
}

func (r *real) acks(s *realServer, n int) []string {
	if s.mariadb() {
		return nil
	}
	return []string{fmt.Sprintf("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = %d", n)}
}

// follow does what promote.Server.Follow does.
func (r *real) follow(s, src *realServer) error {
	options := "HEARTBEAT_PERIOD = 1"
	statements := []string{"STOP REPLICA "}
	if s.mariadb() {
		written, err := r.get(s, "SELECT @@global.gtid_binlog_pos")
		if err != nil {
			return err
		}
		statements = append(statements, "SET GLOBAL gtid_slave_pos = '"+written+"'")
		options = "MASTER_" + options + ", MASTER_USE_GTID = slave_pos"
	} else {
		options = "SOURCE_" + options + ", SOURCE_RETRY_COUNT = 864000, SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
	}
	statements = append(statements, fmt.Sprintf(
		"CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = %d, SOURCE_USER = 'repl-%s', SOURCE_PASSWORD = '%s', SOURCE_CONNECT_RETRY = 1, %s",
		src.Config().Port, s.name, replicationPassword, options), "START REPLICA ")
	return r.exec(s, statements...)
}

// acknowledgeReceived does what promote.Server.AcknowledgeReceived does.
func (r *real) acknowledgeReceived(s *realServer) error {
	applied := func() error {
		if err := r.exec(s, "STOP REPLICA IO_THREAD"); err != nil {
			return err
		}
		return r.until(func() (bool, error) {
			row, err := r.channel(s)
			return row["Relay_Master_Log_File"] == row["Master_Log_File"] && row["Exec_Master_Log_Pos"] == row["Read_Master_Log_Pos"], err
		})
	}
	ask := func(how string) error {
		return r.exec(s, "STOP REPLICA ", "CHANGE MASTER TO MASTER_USE_GTID = "+how, "START REPLICA ")
	}
	for _, do := range []func() error{
		applied, func() error { return ask("no") },
		func() error { time.Sleep(hold); return applied() }, func() error { return ask("slave_pos") },
	} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// kill kills connections that are there now, and waits until none of them is but those whose commits wait on.
func (r *real) kill(s *realServer, whose func(mysqlcheck.ServerThread) bool) error {
	ctx, cancel := context.WithTimeout(r.ctx, patience)
	defer cancel()
	var killed []uint64
	threads, err := mysqlcheck.Threads(ctx, s.DB(), s.version)
	if err != nil {
		return err
	}
	for _, t := range threads {
		if !whose(t) {
			continue
		}
		const unknown = 1094 // it has ended
		var refused *mysql.MySQLError
		if err := s.Exec(ctx, fmt.Sprintf("KILL %d", t.ID)); err != nil && !(errors.As(err, &refused) && refused.Number == unknown) {
			return err
		}
		if t.IsDump() {
			killed = append(killed, t.ID)
		}
	}
	return r.until(func() (bool, error) {
		threads, err := mysqlcheck.Threads(ctx, s.DB(), s.version)
		if err != nil {
			return false, err
		}
		threads = slices.DeleteFunc(threads, func(t mysqlcheck.ServerThread) bool { return !slices.Contains(killed, t.ID) })
		if len(threads) > 0 {
			return false, fmt.Errorf("still there: %+v", threads)
		}
		return true, nil
	})
}

func isClient(t mysqlcheck.ServerThread) bool { return t.User == "app" }

// commit begins a client's commit, and returns when it has ended or waits for somebody.
func (r *real) commit(s *realServer, label string) error {
	c, err := r.start(s, s.clients, "INSERT INTO d.t (s) VALUES ('"+label+"')")
	if err != nil {
		return err
	}
	c.label = label
	r.commits[label] = c
	s.begun = append(s.begun, c)
	return r.until(func() (bool, error) {
		if c.ended() {
			return true, nil
		}
		if err := r.number(s); err != nil {
			return false, err
		}
		if c.number > 0 {
			return true, nil
		}
		return r.hangs(c)
	})
}

// hangs reports whether a statement waits, and has done so for a while.
func (r *real) hangs(c *client) (bool, error) {
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	var state string
	for range 20 {
		t, ok, err := mysqlcheck.Session(ctx, c.server.DB(), c.server.version, c.id)
		switch {
		case err != nil:
			return false, err
		case !ok, t.Command == "Sleep", state != "" && t.State != state:
			return false, nil
		}
		state = t.State
		time.Sleep(5 * time.Millisecond)
	}
	// "Waiting for semi-sync ACK", "Waiting for global read lock", "waiting for handler commit", "Commit", ...
	return strings.HasPrefix(strings.ToLower(state), "wait") || state == "Commit", nil
}

// until polls until ok.
func (r *real) until(ok func() (bool, error)) error {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		done, err := ok()
		if done && err == nil {
			return nil
		}
		if time.Since(begin) > patience {
			return errors.Join(errors.New("waited in vain"), err)
		}
		if err != nil && r.ctx.Err() != nil {
			return err
		}
	}
}

// positions are the GTIDs that a server shows.
type positions struct {
	executed string // MySQL: gtid_executed; MariaDB: gtid_binlog_state
	logged   string // with what waits
	received string // with the relay log
}

func (r *real) positions(s *realServer) (p positions, err error) {
	if s.mariadb() {
		if p.executed, err = r.get(s, "SELECT @@global.gtid_binlog_state"); err != nil {
			return p, err
		}
		row, err := r.channel(s)
		p.logged, p.received = p.executed, p.executed+","+row["Gtid_IO_Pos"]
		return p, err
	}
	// In this order: what is on its way from one to the other is seen twice.
	owned, err := r.get(s, "SELECT @@global.gtid_owned")
	if err != nil {
		return p, err
	}
	if p.executed, err = r.get(s, "SELECT @@global.gtid_executed"); err != nil {
		return p, err
	}
	p.logged = p.executed
	for _, source := range strings.Split(owned, ",") {
		uuid, numbers, ok := strings.Cut(strings.TrimSpace(source), ":")
		if !ok {
			continue
		}
		for _, part := range strings.Split(numbers, ":") {
			number, _, _ := strings.Cut(part, "#")
			p.logged += "," + uuid + ":" + number
		}
	}
	row, err := r.channel(s)
	p.received = p.executed + "," + row["Retrieved_Gtid_Set"]
	return p, err
}

// channel is the row of the replica's status, or nothing.
func (r *real) channel(s *realServer) (map[string]string, error) {
	query := "SHOW REPLICA STATUS"
	if s.mariadb() {
		query = "SHOW ALL SLAVES STATUS"
	}
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	rows, err := s.DB().QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, errors.Join(err, rows.Err())
	}
	values := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	row := map[string]string{}
	for i, name := range names {
		row[name] = values[i].String
	}
	return row, rows.Err()
}

// has reports whether a position holds a transaction of a server.
func (s *realServer) has(position string, number uint64) (bool, error) {
	if number == 0 {
		return false, nil
	}
	if s.mariadb() {
		for _, part := range strings.Split(position, ",") {
			fields := strings.Split(part, "-") // domain, server, number
			if len(fields) != 3 || fields[1] != s.id {
				continue
			}
			if n, err := strconv.ParseUint(fields[2], 10, 64); err != nil || n >= number {
				return err == nil, err
			}
		}
		return false, nil
	}
	set, err := gtid.ParseMySQL(strings.Trim(strings.ReplaceAll(position, "\n", ""), ", "))
	if err != nil {
		return false, err
	}
	one, err := gtid.ParseMySQL(fmt.Sprintf("%s:%d", s.id, number))
	return err == nil && set.Contains(one), err
}

// number finds the numbers of commits that have got into the log: they get there in the order in which they were begun.
func (r *real) number(s *realServer) error {
	if len(s.begun) == 0 || !s.Alive() || s.frozen {
		return nil
	}
	p, err := r.positions(s)
	if err != nil {
		return err
	}
	for len(s.begun) > 0 {
		next, err := r.next(s)
		if err != nil {
			return err
		}
		in, err := s.has(p.logged, next)
		if err != nil {
			return err
		}
		c := s.begun[0]
		switch {
		case in:
			c.number, s.written = next, next
		case c.ended() && c.state() != Acknowledged && !c.left:
			// It never will.
		default:
			return nil
		}
		s.begun = s.begun[1:]
	}
	return nil
}

// next is the number of the next transaction that the server writes. On MariaDB all servers count together.
func (r *real) next(s *realServer) (uint64, error) {
	if s.written > 0 || !s.mariadb() {
		return s.written + 1, nil
	}
	state, err := r.get(s, "SELECT @@global.gtid_binlog_state")
	if err != nil {
		return 0, err
	}
	var others uint64
	for _, part := range strings.Split(state, ",") {
		if fields := strings.Split(part, "-"); len(fields) == 3 && fields[1] != s.id {
			n, err := strconv.ParseUint(fields[2], 10, 64)
			if err != nil {
				return 0, err
			}
			others = max(others, n)
		}
	}
	return others + 1, nil
}

// state is what the client knows.
func (c *client) state() State {
	if !c.ended() {
		if c.number > 0 {
			return Waiting
		}
		return Blocked
	}
	var refused *mysql.MySQLError
	switch {
	case c.err == nil:
		return Acknowledged
	case errors.As(c.err, &refused) && (refused.Number == 1290 || refused.Number == 1836):
		return Refused
	}
	return Lost
}

// say is the state, and the error that it comes from.
func (c *client) say() string {
	if !c.ended() {
		return c.state().String()
	}
	return fmt.Sprintf("%v: %v", c.state(), c.err)
}

// await polls until a fact holds, and for a while longer if it must not change.
func (r *real) await(st step, check func() (bool, string, error)) (ok bool, is string, err error) {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if ok, is, err = check(); ok && err == nil {
			break
		}
		if errors.Is(err, errStopped) || time.Since(begin) > patience {
			return ok, is, err
		}
	}
	if !st.holds() {
		return ok, is, nil
	}
	for begin := time.Now(); time.Since(begin) < hold; time.Sleep(hold / 10) {
		if ok, is, err = check(); !ok || err != nil {
			return ok, "only for a while: " + is, err
		}
	}
	return ok, is, nil
}

func (r *real) check(st step) (ok bool, is string, err error) {
	s := r.servers[st.server]
	c := r.commits[st.label]
	if c != nil {
		if err := r.number(c.server); err != nil {
			return false, "", err
		}
	}
	if want, ok := strings.CutPrefix(st.op, "LABEL "); ok {
		return c.state().String() == want, c.say(), nil
	}
	if s.frozen {
		return false, "", errStopped
	}
	switch st.op {
	case "logged LABEL", "executed LABEL", "received LABEL", "lacks LABEL":
		p, err := r.positions(s)
		if err != nil {
			return false, "", err
		}
		in := map[string]bool{}
		for what, position := range map[string]string{"logged": p.logged, "executed": p.executed, "received": p.received} {
			if in[what], err = c.server.has(position, c.number); err != nil {
				return false, "", err
			}
		}
		what, _, _ := strings.Cut(st.op, " ")
		in["lacks"] = !in["received"] && !in["logged"]
		return in[what], fmt.Sprintf("%s has number %d of %s: %+v", s.name, c.number, c.server.id, p), nil
	case "committed LABEL":
		is, err = r.get(s, "SELECT COUNT(*) FROM d.t WHERE s = '"+st.label+"'")
		return is == "1", is + " rows", err
	case "clients N":
		is, err = r.status(s, "Rpl_semi_sync_source_clients")
		return is == strconv.Itoa(st.n), is + " clients", err
	case "somebody waits", "nobody waits":
		is, err = r.status(s, "Rpl_semi_sync_source_wait_sessions")
		return (is != "0") == (st.op == "somebody waits"), is + " wait", err
	case "source off", "source on":
		is, err = r.get(s, "SELECT @@global.rpl_semi_sync_source_enabled")
		return (is == "1") == (st.op == "source on"), "enabled " + is, err
	case "dumps none", "dumps SERVER", "dumps SERVER SERVER":
		return r.dumps(s, st)
	case "receiver running", "receiver connecting", "receiver stopped", "receiver gave up", "acknowledges", "silent":
		return r.receiver(s, st)
	case "writable", "read-only", "pending":
		is, err = r.get(s, "SELECT @@global.super_read_only")
		state := "writable"
		switch {
		case s.readOnly != nil && !s.readOnly.ended(): // MySQL shows super_read_only on all the while
			state = "pending"
		case is == "1":
			state = "read-only"
		}
		return state == st.op, state, err
	case "shows read-only", "shows writable":
		is, err = r.get(s, "SELECT @@global.super_read_only")
		return (is == "1") == (st.op == "shows read-only"), is, err
	}
	return false, "", errors.New("the servers have no such fact")
}

func (r *real) status(s *realServer, name string) (value string, err error) {
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	name = s.sql(strings.ToLower(name))
	err = s.DB().QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(&name, &value)
	return value, err
}

func (r *real) dumps(s *realServer, st step) (bool, string, error) {
	ctx, cancel := context.WithTimeout(r.ctx, asked)
	defer cancel()
	list, err := mysqlcheck.Dumps(ctx, s.DB(), s.version)
	if err != nil {
		return false, "", err
	}
	var want, users []string
	for _, i := range st.others() {
		want = append(want, "repl-"+servers[i])
	}
	for _, t := range list {
		users = append(users, t.User)
	}
	slices.Sort(users)
	return slices.Equal(users, want), fmt.Sprintf("dump threads of %q", users), nil
}

func (r *real) receiver(s *realServer, st step) (bool, string, error) {
	row, err := r.channel(s)
	if err != nil {
		return false, "", err
	}
	get := func(names ...string) string {
		for _, name := range names {
			if v, ok := row[name]; ok {
				return v
			}
		}
		return ""
	}
	state, trouble := "stopped", get("Last_IO_Error")
	switch get("Replica_IO_Running", "Slave_IO_Running") {
	case "Yes":
		state = "running"
	case "Connecting", "Preparing":
		state = "connecting"
	default:
		// The source cannot serve it (1236, 13114); it cannot go on (13117).
		if slices.Contains([]string{"1236", "13114", "13117"}, get("Last_IO_Errno")) {
			state = "gave up"
		}
	}
	if want, ok := strings.CutPrefix(st.op, "receiver "); ok {
		return state == want, state + " " + trouble, nil
	}
	acks, err := r.status(s, "Rpl_semi_sync_replica_status")
	return state == "running" && (acks == "ON") == (st.op == "acknowledges"), fmt.Sprintf("%s %s, acknowledges %s", state, trouble, acks), err
}

// reset brings all servers to where a script begins.
func (r *real) reset() error {
	if err := r.each((*real).stop); err != nil {
		return err
	}
	for _, c := range r.commits {
		c.leave()
		<-c.done
	}
	r.commits = map[string]*client{}
	return r.each((*real).empty)
}

// each does something on all servers at once.
func (r *real) each(do func(*real, *realServer) error) error {
	var wait sync.WaitGroup
	errs := make([]error, len(r.servers))
	for i, s := range r.servers {
		wait.Go(func() {
			if err := do(r, s); err != nil {
				errs[i] = fmt.Errorf("%s: %w", s.name, err)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// stop ends whatever a script has begun on a server.
func (r *real) stop(s *realServer) error {
	if s.frozen {
		s.frozen = false
		if err := s.Cont(); err != nil {
			return err
		}
	}
	if !s.Alive() {
		if err := s.Start(r.ctx); err != nil {
			return err
		}
	}
	if err := r.exec(s, "SET GLOBAL rpl_semi_sync_source_enabled = OFF", "SET GLOBAL rpl_semi_sync_replica_enabled = OFF"); err != nil {
		return err
	}
	if s.readOnly != nil {
		s.readOnly.leave()
		<-s.readOnly.done
	}
	if err := r.kill(s, isClient); err != nil {
		return err
	}
	return r.exec(s, "STOP REPLICA ", "RESET REPLICA ALL")
}

// empty removes what a script has left.
func (r *real) empty(s *realServer) error {
	statements := []string{"SET SESSION sql_log_bin = 0", "SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF", "DELETE FROM d.t"}
	for _, replica := range servers {
		statements = append(statements, "ALTER USER 'repl-"+replica+"'@'%' ACCOUNT UNLOCK")
	}
	if err := r.exec(s, append(statements, "SET SESSION sql_log_bin = 1")...); err != nil {
		return err
	}
	if err := r.kill(s, mysqlcheck.ServerThread.IsDump); err != nil {
		return err
	}
	statements = []string{"RESET BINARY LOGS AND GTIDS"}
	if s.mariadb() {
		statements = append(statements, "SET GLOBAL gtid_slave_pos = ''")
	}
	if err := r.exec(s, append(statements, "SET GLOBAL super_read_only = ON")...); err != nil {
		return err
	}
	s.applierStopped, s.readOnly, s.begun, s.written = false, nil, nil, 0
	return nil
}

// rigs is how many scripts run at once, each on servers of its own: they mostly wait.
const rigs = 3

// only picks the scripts that run on real servers.
var only = flag.String("scripts", "", "run on real servers only the scripts whose name contains this")

// result is what came of a script.
type result struct {
	err        error
	reset, ran time.Duration
}

// runReal runs all scripts of a flavor.
func runReal(t *testing.T, flavor Flavor, kind lab.Flavor) {
	lab.Require(t, string(kind))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	list := slices.DeleteFunc(readScripts(t), func(s *script) bool { return !s.flavors[flavor] || !strings.Contains(s.name, *only) })
	results := make([]chan result, len(list))
	todo := make(chan int, len(list))
	for i := range list {
		results[i] = make(chan result, 1)
		todo <- i
	}
	close(todo)
	dir := t.TempDir()
	var workers sync.WaitGroup
	for i := range rigs {
		workers.Go(func() {
			r, err := startReal(ctx, filepath.Join(dir, strconv.Itoa(i)), kind)
			if err == nil {
				defer r.close()
			}
			for i := range todo {
				if err != nil {
					results[i] <- result{err: fmt.Errorf("start servers: %w", err)}
					continue
				}
				results[i] <- r.run(list[i], flavor)
			}
		})
	}
	for i, s := range list {
		t.Run(strings.TrimSuffix(filepath.Base(s.name), ".txt"), func(t *testing.T) {
			result := <-results[i]
			if result.err != nil {
				t.Error(result.err)
			}
			t.Logf("reset in %v, ran in %v", result.reset.Round(time.Millisecond), result.ran.Round(time.Millisecond))
		})
	}
	workers.Wait()
}

// run runs a script on servers that may be in any state.
func (r *real) run(s *script, flavor Flavor) (res result) {
	begin := time.Now()
	err := r.reset()
	res.reset = time.Since(begin)
	if err != nil {
		res.err = fmt.Errorf("reset: %w", err)
		return res
	}
	res.err = s.run(flavor, r)
	res.ran = time.Since(begin) - res.reset
	return res
}

// MySQL is as the scripts say.
func TestScriptsOnMySQL(t *testing.T) {
	runReal(t, MySQL, lab.MySQL)
}

// MariaDB is as the scripts say.
func TestScriptsOnMariaDB(t *testing.T) {
	runReal(t, MariaDB, lab.MariaDB)
}

// A receiver that loses its connection again and again while it connects, whatever it is about, does not give up.
func TestKilledWhileConnecting(t *testing.T) {
	for _, kind := range []lab.Flavor{lab.MySQL, lab.MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			lab.Require(t, string(kind))
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
			defer cancel()
			r, err := startReal(ctx, t.TempDir(), kind)
			if err != nil {
				t.Fatal(err)
			}
			defer r.close()
			labels := map[string]int{}
			say := func(line string) error {
				st, err := parseStep(strings.Fields(line), labels)
				if err == nil {
					err = r.do(st)
				}
				return err
			}
			for _, line := range []string{"a: open", "b: follow a"} {
				if err := say(line); err != nil {
					t.Fatal(line, err)
				}
			}
			a, b := r.servers[0], r.servers[1]
			for begin := time.Now(); time.Since(begin) < 5*time.Second; {
				if err := r.kill(a, func(t mysqlcheck.ServerThread) bool { return t.User == "repl-b" }); err != nil {
					t.Fatal(err)
				}
				row, err := r.channel(b)
				if err != nil {
					t.Fatal(err)
				}
				if kind == lab.MariaDB && row["Last_IO_Errno"] == "1595" { // it was killed in the middle of an event, which stops it
					if err := say("b: start receiver"); err != nil {
						t.Fatal(err)
					}
					continue
				}
				if row["Replica_IO_Running"] == "No" || row["Slave_IO_Running"] == "No" {
					t.Fatalf("gave up after %v: %s %s", time.Since(begin), row["Last_IO_Errno"], row["Last_IO_Error"])
				}
			}
		})
	}
}
