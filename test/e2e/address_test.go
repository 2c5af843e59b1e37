// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"highwater/test/lab"
)

// Somebody removes the VIP from the primary: it is put back.
func TestAddressRemoved(t *testing.T) {
	r := start(t, semiSync())
	w := r.write()
	for i := range 3 {
		r.must(r.db(1).RemoveAddress(netip.PrefixFrom(lab.VIP, 32)))
		r.eventually(2*time.Second, func() string {
			if len(r.carriers()) == 0 {
				return "the VIP was not put back"
			}
			if n := r.times(r.db(1), "msg=address_restored"); n != i+1 {
				return fmt.Sprintf("it was put back %d times, want %d", n, i+1)
			}
			return ""
		})
	}
	r.end(w, r.db(1), 0)
}

// A process that died left the VIP on a host that is not the primary: it is removed at the
// start of the next.
func TestAddressLeft(t *testing.T) {
	r := start(t, semiSync())
	r.overlaps = true // it is ours
	w := r.write()
	h := r.db(3)
	r.Supervisor(h).Kill()
	r.observer.exempt(h)
	r.must(h.AddAddress(netip.PrefixFrom(lab.VIP, 32)))
	r.must(r.StartSupervisor(h))
	r.without(h, 5*time.Second)
	r.end(w, r.db(1), 0)
}

// A VIP of each family: they move together, and clients of both find the new primary.
func TestTwoFamilies(t *testing.T) {
	c := semiSync()
	c.VIPs = []netip.Prefix{netip.PrefixFrom(lab.VIP, 32), netip.PrefixFrom(lab.VIP6, 128)}
	r := start(t, c)
	old := r.db(1)
	w := r.write()
	six := r.writer(lab.WriterConfig{Address: netip.AddrPortFrom(lab.VIP6, lab.MySQLPort)})
	r.must(six.WaitAcknowledged(r.ctx))
	old.Server.Kill()
	primary := r.moved(old)
	r.eventually(moveTime, func() string {
		hosts, err := r.Carriers(lab.VIP6)
		r.must(err)
		if len(hosts) != 1 || hosts[0] != primary {
			return "the IPv6 VIP is not on " + primary.Name()
		}
		return ""
	})
	r.must(old.Server.Start(r.ctx))
	r.settled(primary)
	r.pause(time.Second)
	record := six.Stop()
	r.end(w, primary, 1)
	difference, err := record.Verify(r.ctx, primary.Server)
	r.must(err)
	terms := record.Terms()
	if !difference.OK() || len(terms) != 2 || terms[1].Server != primary.Name() {
		t.Errorf("over IPv6: %v, terms %+v, last error %v", difference, terms, record.LastError)
	}
	t.Logf("outage over IPv6 %v", record.Outage().Duration())
}
