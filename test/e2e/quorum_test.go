// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"highwater/configs"
	"highwater/election/vrrp"
	"highwater/election/vrrpnet"
	"highwater/test/cluster"
	"highwater/test/lab"
)

// majority is semiSync with a quorum.
func majority() cluster.Config {
	c := semiSync()
	c.Authority = configs.AuthorityQuorum
	return c
}

// pairAndWitness is two servers and a third supervisor without one.
func pairAndWitness() cluster.Config {
	c := majority()
	c.Lab.Hosts, c.Lab.Witnesses = 2, 1
	c.Lab.SemiSync = false // with either server lost nobody is left to acknowledge
	return c
}

// failures are what happens to a primary whose server or host fails, and how that ends.
var failures = []struct {
	name  string
	fault func(r *rig, old *lab.Host)
	back  func(r *rig, old *lab.Host)
}{
	{
		"server killed",
		func(_ *rig, old *lab.Host) { old.Server.Kill() },
		func(r *rig, old *lab.Host) { r.must(old.Server.Start(r.ctx)) },
	},
	{"host powered off", (*rig).powerOff, (*rig).powerOn},
	{
		"host frozen",
		func(r *rig, old *lab.Host) { r.must(old.Freeze()) },
		func(r *rig, old *lab.Host) { r.must(old.Thaw()); r.revive(old) },
	},
}

// splits are partitions between the primary and those who follow it.
var splits = []struct {
	name  string
	split func(r *rig) (*lab.Fault, error)
}{
	{"primary alone", func(r *rig) (*lab.Fault, error) {
		return r.db(1).Isolate()
	}},
	{"clients see both", func(r *rig) (*lab.Fault, error) {
		return r.Partition(r.Hosts()[:1], r.Hosts()[1:])
	}},
	{"primary is not heard", func(r *rig) (*lab.Fault, error) {
		return r.OneWay(r.Hosts()[:1], r.Hosts()[1:])
	}},
}

// With a quorum the faults of server, host and cable move the role as without one, and two
// hosts never carry the VIP at once.
func TestQuorumFailover(t *testing.T) {
	for _, c := range failures {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, majority())
			w := r.write()
			old := r.db(1)
			c.fault(r, old)
			primary := r.moved(old)
			c.back(r, old)
			r.end(w, primary, 1)
		})
	}
}

// The network splits, and heals. Whoever has no majority gives up the VIP before anybody else
// carries it, and nothing that was acknowledged is lost.
func TestQuorumPartition(t *testing.T) {
	for _, c := range splits {
		t.Run(c.name, func(t *testing.T) {
			r := start(t, majority())
			w := r.write()
			fault, err := c.split(r)
			r.must(err)
			r.without(r.db(1), leaseTime)
			primary := r.moved(r.db(1))
			r.must(fault.Heal())
			r.revive(r.db(1))
			r.end(w, primary, 1)
		})
	}
}

// A minority of the supervisors is lost: nobody is demoted. With the majority the primary
// loses its right, gives up the VIP within the lease, and has it again when the others are back.
func TestQuorumLost(t *testing.T) {
	r := start(t, majority())
	w := r.write()
	r.Supervisor(r.db(3)).Kill()
	r.stays(5 * time.Second)
	r.Supervisor(r.db(2)).Kill()
	r.without(r.db(1), leaseTime)
	r.logged(r.db(1), "detail=right_lost", moveTime)
	r.must(errors.Join(r.StartSupervisor(r.db(2)), r.StartSupervisor(r.db(3))))
	r.revive(r.db(1))
	r.end(w, r.elected(), 1)
}

// The same with a quorum, whose right a restarted supervisor has to be given again.
func TestQuorumSupervisorRestarted(t *testing.T) { supervisorRestarted(t, majority()) }

// A packet is not a right: adverts of any priority in the name of another node, 10 000 a
// second, take nothing from a healthy primary.
func TestQuorumForgedAdverts(t *testing.T) {
	r := start(t, majority())
	w := r.write()
	ctx, cancel := context.WithCancel(r.ctx)
	ended := make(chan error, 1)
	go func() { ended <- r.forge(ctx, r.db(3)) }()
	r.stays(6 * time.Second)
	cancel()
	r.must(<-ended)
	if record := r.end(w, r.db(1), 0); record.Errors != 0 {
		t.Errorf("%d connections broke, the last by %v", record.Errors, record.LastError)
	}
}

// forge sends adverts from a host's own address until ctx ends.
func (r *rig) forge(ctx context.Context, h *lab.Host) error {
	return h.Inside(func() error {
		c, err := vrrpnet.Listen(ctx, vrrpnet.Config{
			Interface: lab.Interface, Family: vrrpnet.IPv4, Version: 3, VRID: 51, AcceptFrom: []netip.Addr{h.Address()},
		})
		if err != nil {
			return err
		}
		defer c.Close()
		sent := 0
		for start := time.Now(); ctx.Err() == nil; {
			for due := int(time.Since(start).Milliseconds()) * 10; sent < due; sent++ {
				a := vrrp.Advertisement{
					Version: 3, VRID: 51, Priority: [...]uint8{255, 0, 254, 1}[sent%4], Interval: 250 * time.Millisecond,
				}
				a.SetAddresses([]netip.Addr{lab.VIP})
				// A socket that is full loses one: what is sent is counted, not what is wanted.
				if err := c.Send(&a); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
					return err
				}
			}
			time.Sleep(time.Millisecond)
		}
		r.t.Logf("%d adverts forged", sent)
		return nil
	})
}

// Two servers and a witness: the loss of the witness moves nothing, the loss of a server's
// host moves the role to the other one.
func TestWitness(t *testing.T) {
	r := start(t, pairAndWitness())
	w := r.write()
	witness := r.Witnesses()[0]
	r.Supervisor(witness).Kill()
	r.stays(5 * time.Second)
	r.must(r.StartSupervisor(witness))
	r.eventually(moveTime, func() string {
		out, err := r.Command(r.ctx, witness, "status")
		if err != nil || !strings.Contains(out, "witness") {
			return out
		}
		return ""
	})
	r.pause(2 * time.Second)
	old := r.db(1)
	w.Stop()
	r.powerOff(old)
	r.moved(old)
}
