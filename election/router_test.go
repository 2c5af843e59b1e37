// SPDX-License-Identifier: Apache-2.0

package election

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestRouter runs the transcripts of the virtual router: one per sentence of the RFCs. They
// are recorded anew with -rewrite.
func TestRouter(t *testing.T) {
	datadriven.Walk(t, "testdata/router", func(t *testing.T, path string) {
		s := &routerScript{}
		datadriven.RunTest(t, path, s.run)
	})
}

// routerScript is the state of one transcript: a router and what it had said.
type routerScript struct {
	router Router
	now    Instant
	gate   bool
	out    strings.Builder
}

func (s *routerScript) run(t *testing.T, d *datadriven.TestData) string {
	s.out.Reset()
	switch d.Cmd {
	case "router": // a new one, in Initialize
		s.router, s.now, s.gate = NewRouter(routerConfig(t, d)), Instant(time.Second), true
		s.out.WriteString("Initialize\n")
	case "startup":
		s.say(s.router.Startup(s.now))
	case "shutdown":
		s.say(s.router.Shutdown())
	case "stand":
		s.say(s.router.Stand(s.now))
	case "yield":
		s.say(s.router.Yield(s.now))
	case "gate":
		s.gate = d.CmdArgs[0].Key == "open"
	case "advert":
		s.say(s.router.Receive(s.now, advertOf(t, d)))
	case "advance":
		s.advance(t, d)
	case "timers":
		s.timers()
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return s.out.String()
}

// advance lets time pass, timer by timer.
func (s *routerScript) advance(t *testing.T, d *datadriven.TestData) {
	by, err := time.ParseDuration(d.CmdArgs[0].Key)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	end := s.now.Add(by)
	for next := s.router.Deadline(); next != 0 && next <= end; next = s.router.Deadline() {
		passed := next.Sub(s.now)
		s.now = next
		fmt.Fprintf(&s.out, "after %v: ", round(passed))
		before := s.out.Len()
		s.say(s.router.Timer(s.now, s.gate))
		if s.out.Len() == before {
			s.out.WriteString("nothing\n")
		}
	}
	s.now = end
}

func (s *routerScript) say(o Output) {
	if o.Send {
		fmt.Fprintf(&s.out, "send priority=%d\n", o.Priority)
	}
	if o.Held {
		s.out.WriteString("held at the gate\n")
	}
	if o.Changed() {
		fmt.Fprintf(&s.out, "%s -> %s\n", o.From, o.To)
	}
}

// timers shows what runs, and the parameters that it runs by.
func (s *routerScript) timers() {
	show := func(name string, at Instant) {
		if at != 0 {
			fmt.Fprintf(&s.out, "%s %v\n", name, round(at.Sub(s.now)))
		}
	}
	fmt.Fprintf(&s.out, "state %s, active-advert-interval %v, skew %v\n", s.router.State(), s.router.activeAdvertInterval, round(s.router.SkewTime()))
	show("active-down-timer", s.router.downTimer)
	show("advert-timer", s.router.advertTimer)
}

// round shortens a duration to what people read.
func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func routerConfig(t *testing.T, d *datadriven.TestData) RouterConfig {
	c := RouterConfig{Version: 3, Priority: 100, AdvertInterval: 100 * time.Millisecond, Address: netip.MustParseAddr("10.0.0.11")}
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "version":
			c.Version = uint8Arg(t, arg)
		case "priority":
			c.Priority = uint8Arg(t, arg)
		case "interval":
			c.AdvertInterval = durationArg(t, d, arg)
		case "preempt":
			c.Preempt = true
		case "address":
			c.Address = netip.MustParseAddr(arg.Vals[0])
		case "adverts":
			arg.Scan(t, 0, &c.DownTimerAdverts)
		default:
			d.Fatalf(t, "unknown parameter %q", arg.Key)
		}
	}
	return c
}

func advertOf(t *testing.T, d *datadriven.TestData) Advert {
	a := Advert{Interval: 100 * time.Millisecond, Source: netip.MustParseAddr("10.0.0.12")}
	for _, arg := range d.CmdArgs {
		switch arg.Key {
		case "prio":
			a.Priority = uint8Arg(t, arg)
		case "src":
			a.Source = netip.MustParseAddr(arg.Vals[0])
		case "interval":
			a.Interval = durationArg(t, d, arg)
		default:
			d.Fatalf(t, "unknown parameter %q", arg.Key)
		}
	}
	return a
}

func uint8Arg(t *testing.T, arg datadriven.CmdArg) uint8 {
	var n int
	arg.Scan(t, 0, &n)
	return uint8(n)
}

func durationArg(t *testing.T, d *datadriven.TestData, arg datadriven.CmdArg) time.Duration {
	v, err := time.ParseDuration(arg.Vals[0])
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	return v
}
