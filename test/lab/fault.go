// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Fault is something wrong with the network, until Heal.
type Fault struct {
	sw    *lan
	rules []string // of nftables' bridge family, without a newline
}

// Heal undoes the fault; a healed one stays so.
func (f *Fault) Heal() error {
	f.sw.mu.Lock()
	defer f.sw.mu.Unlock()
	i := slices.Index(f.sw.faults, f)
	if i < 0 {
		return nil
	}
	f.sw.faults = slices.Delete(f.sw.faults, i, i+1)
	return f.sw.apply()
}

// Heal undoes all faults of the switch. Hosts that were frozen, unplugged or powered off stay so.
func (l *Lab) Heal() error {
	l.sw.mu.Lock()
	defer l.sw.mu.Unlock()
	l.sw.faults = nil
	return l.sw.apply()
}

// Partition cuts the hosts into groups: nothing passes from one group to another. Hosts in no group see all.
func (l *Lab) Partition(groups ...[]*Host) (*Fault, error) {
	var rules []string
	for i, from := range groups {
		for j, to := range groups {
			if i != j {
				rules = append(rules, rule(from, to, "drop"))
			}
		}
	}
	return l.fault(rules...)
}

// OneWay drops what the hosts of from send to those of to; the other way is open. Nil means any host.
func (l *Lab) OneWay(from, to []*Host) (*Fault, error) {
	return l.fault(rule(from, to, "drop"))
}

// Loss drops packets from and to the given hosts at random. percent is 1 to 100; nil means any host.
func (l *Lab) Loss(from, to []*Host, percent int) (*Fault, error) {
	if percent < 1 || percent > 100 {
		return nil, fmt.Errorf("lose packets: %d percent", percent)
	}
	return l.fault(rule(from, to, fmt.Sprintf("numgen random mod 100 < %d drop", percent)))
}

// Drop drops what matches an expression of nft(8), such as "ip protocol 112" or "tcp dport 3306".
func (l *Lab) Drop(from, to []*Host, match string) (*Fault, error) {
	return l.fault(rule(from, to, match+" drop"))
}

func (l *Lab) fault(rules ...string) (*Fault, error) {
	f := &Fault{sw: l.sw, rules: rules}
	l.sw.mu.Lock()
	defer l.sw.mu.Unlock()
	l.sw.faults = append(l.sw.faults, f)
	if err := l.sw.apply(); err != nil {
		l.sw.faults = slices.Delete(l.sw.faults, len(l.sw.faults)-1, len(l.sw.faults))
		return nil, errors.Join(err, l.sw.apply())
	}
	return f, nil
}

// rule is one rule for frames that enter the switch from one of the hosts and leave it to another.
func rule(from, to []*Host, action string) string {
	var r string
	if from != nil {
		r += "iifname " + portSet(from) + " "
	}
	if to != nil {
		r += "oifname " + portSet(to) + " "
	}
	return r + action
}

func portSet(hosts []*Host) string {
	names := make([]string, len(hosts))
	for i, h := range hosts {
		names[i] = `"` + h.name + `"`
	}
	return "{ " + strings.Join(names, ", ") + " }"
}

// Isolate makes the switch drop all that the host sends and is sent. The host does not notice: its carrier stays.
func (h *Host) Isolate() (*Fault, error) {
	self := []*Host{h}
	return h.lab.fault(rule(self, nil, "drop"), rule(nil, self, "drop"))
}
