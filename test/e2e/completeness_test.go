// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"highwater/test/cluster"
	"highwater/test/lab"
)

// farBehind is how many transactions the candidate of the highest priority lacks.
const farBehind = 10_000

// The candidate that stands first lacks 10 000 transactions that another replica has, and
// their source is dead. The other one wins, or they are fetched from it.
func TestCandidateBehind(t *testing.T) { candidateBehind(t, semiSync()) }

func candidateBehind(t *testing.T, c cluster.Config) {
	t.Helper()
	r := start(t, c)
	source, behind := r.db(1), r.db(2)
	// Speed where durability is not the matter.
	for _, h := range r.Hosts() {
		r.must(h.Server.Exec(r.ctx, "SET GLOBAL sync_binlog=0", "SET GLOBAL innodb_flush_log_at_trx_commit=0"))
	}
	w := r.write()
	_, err := r.Drop([]*lab.Host{source}, []*lab.Host{behind}, "tcp sport 3306")
	r.must(err)
	r.insert(source, farBehind)
	ahead, err := r.db(3).Server.QueryString(r.ctx, "SELECT COUNT(*) FROM lab.many")
	r.must(err)
	source.Server.Kill()
	primary := r.moved(source)
	count, err := primary.Server.QueryString(r.ctx, "SELECT COUNT(*) FROM lab.many")
	r.must(err)
	if count != fmt.Sprint(farBehind) {
		t.Errorf("%s is primary with %s of %d rows; db3 had applied %s", primary, count, farBehind, ahead)
	}
	r.must(r.Heal())
	r.must(source.Server.Start(r.ctx))
	r.end(w, primary, 1)
}

// insert commits n transactions on a host, from several sessions.
func (r *rig) insert(h *lab.Host, n int) {
	r.t.Helper()
	const sessions = 20
	r.must(h.Server.Exec(r.ctx, "CREATE TABLE lab.many (n INT PRIMARY KEY)"))
	errs := make(chan error, sessions)
	var wg sync.WaitGroup
	for s := range sessions {
		wg.Go(func() {
			var statements []string
			for i := s; i < n; i += sessions {
				statements = append(statements, fmt.Sprintf("INSERT INTO lab.many VALUES (%d)", i))
			}
			if err := h.Server.Exec(r.ctx, statements...); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		r.must(err)
	}
}

// The farewell of the primary reaches the candidate and not the host that is ahead, which
// refuses to be sealed while it thinks that it hears the primary. Its transactions count all
// the same.
func TestFarewellMissed(t *testing.T) {
	r := start(t, semiSync())
	source, behind, ahead := r.Hosts()[:1], r.Hosts()[1:2], r.Hosts()[2:]
	_, err := r.Drop(source, behind, "tcp sport 3306")
	r.must(err)
	w := r.write()
	_, err = r.Drop(source, ahead, "tcp dport 7475")
	r.must(err)
	_, err = r.Drop(source, ahead, "tcp sport 7475")
	r.must(err)
	r.pause(time.Second / 2)
	source[0].Server.Kill()
	primary := r.moved(source[0])
	r.must(r.Heal())
	r.must(source[0].Server.Start(r.ctx))
	r.end(w, primary, 1)
}
