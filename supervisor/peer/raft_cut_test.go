// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// cutEnv is set in the child that TestRaftHealsAfterACut runs in a network namespace of its own.
const cutEnv = "PEER_TEST_CUT"

// After a cut, in which every packet is lost without a word, messages flow again as soon as the network does, not when TCP's doubled
// patience ends.
func TestRaftHealsAfterACut(t *testing.T) {
	if os.Getenv(cutEnv) != "" {
		testCut(t)
		return
	}
	if os.Geteuid() != 0 {
		if os.Getenv("HIGHWATER_REQUIRE_LAB") == "1" {
			t.Fatal("needs root for a network namespace")
		}
		t.Skip("needs root for a network namespace")
	}
	child := exec.Command(os.Args[0], "-test.run=^TestRaftHealsAfterACut$", "-test.v")
	child.Env = append(os.Environ(), cutEnv+"=1")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
}

func testCut(t *testing.T) {
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	sink := &raftSink{}
	s, _ := listenRaft(t, "127.0.0.1:0", &fakeHandler{}, sink)
	c, _ := startClient(t, clientConfig(t, s))
	n := 0
	send := func() {
		n++
		c.SendRaft(text(strconv.Itoa(n)), false)
	}
	send()
	eventually(t, "arrived", func() bool { return sink.has("1") })
	// 1.7 s after the first loss TCP has just tried for the fourth time, and would wait until the third second.
	heal := cutLoopback(t)
	for until := time.Now().Add(1700 * time.Millisecond); time.Now().Before(until); {
		send()
		time.Sleep(20 * time.Millisecond)
	}
	heal()
	healed := time.Now()
	first := n + 1
	eventually(t, "arrived after the cut", func() bool {
		send()
		got := sink.received()
		last, err := strconv.Atoi(got[len(got)-1])
		return err == nil && last >= first
	})
	took := time.Since(healed)
	if took > raftDialTimeout+raftBusyPause {
		t.Errorf("silent for %v after the cut", took)
	}
	t.Logf("silent for %v after the cut; %+v", took, c.Stats().Raft)
}

// cutLoopback drops every packet behind the sender's kernel, as a switch does that has failed.
func cutLoopback(t *testing.T) (heal func()) {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "cut"})
	c.AddChain(&nftables.Chain{
		Name: "all", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput,
		Priority: nftables.ChainPriorityFilter, Policy: &drop,
	})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
}
