// SPDX-License-Identifier: Apache-2.0

package configs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// number is a whole number from min to max.
type number[T uint8 | uint16 | int] struct {
	into     *T
	min, max T
	unit     string // of the number, for spec; "" when it only counts
}

var (
	decimalText = regexp.MustCompile(`^-?(0|[1-9][0-9]{0,8})$`)
	// YAML 1.1 and Go's YAML read 010 as 8, YAML 1.2 as 10.
	leadingZero = regexp.MustCompile(`^-?0[0-9_]`)
)

func (k number[T]) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write " + k.spec()
	s, ok := d.scalar(n, path, instead)
	switch {
	case !ok:
		return
	case n.Style != 0:
		d.refuseValue(n, path, "a number stands in quotes", "remove them")
		return
	case leadingZero.MatchString(s):
		d.refuseValue(n, path, shown(s)+" looks octal: some readers take it for another number", "remove the leading zeros")
		return
	case !decimalText.MatchString(s):
		d.refuseValue(n, path, shown(s)+" is not a decimal number", instead)
		return
	}
	i, err := strconv.Atoi(s)
	if err != nil || i < int(k.min) || i > int(k.max) {
		d.refuseValue(n, path, s+" is outside "+k.limits(), instead)
		return
	}
	*k.into = T(i)
}

func (k number[T]) limits() string { return fmt.Sprintf("%d to %d", k.min, k.max) }

func (k number[T]) spec() string {
	if k.unit == "" {
		return "a number, " + k.limits()
	}
	return "a number of " + k.unit + ", " + k.limits()
}

// duration is a length of time from min to max, with its unit.
type duration struct {
	into     *time.Duration
	min, max time.Duration
	step     time.Duration // what it must be a multiple of; 0 means anything
	off      bool          // 0s is accepted as well
}

var (
	bareNumber   = regexp.MustCompile(`^-?[0-9][0-9_.]*$`)
	durationText = regexp.MustCompile(`^-?([0-9]+(\.[0-9]+)?(ms|s|m|h))+$`)
	zeroPadded   = regexp.MustCompile(`(^|[a-z-])0[0-9]`)
)

func (k duration) decode(d *decoder, n *yaml.Node, path string) {
	instead := "write " + k.spec()
	s, ok := d.scalar(n, path, instead)
	if !ok {
		return
	}
	refuse := func(what, instead string) { d.refuseValue(n, path, what, instead) }
	switch {
	case zeroPadded.MatchString(s):
		refuse(shown(s)+" has a leading zero and looks octal", "remove it; "+instead)
		return
	case bareNumber.MatchString(s):
		refuse(shown(s)+" has no unit", k.withUnit(s))
		return
	case !durationText.MatchString(s):
		refuse(shown(s)+" is not a duration", instead+"; units are ms, s, m and h")
		return
	}
	v, err := time.ParseDuration(s)
	switch {
	case err != nil: // it overflows
		refuse(shown(s)+" is outside "+k.limits(), instead)
	case v < 0:
		refuse(shown(s)+" is negative", instead)
	case k.off && v == 0:
		*k.into = 0
	case v < k.min || v > k.max:
		refuse(formatDuration(v)+" is outside "+k.limits(), instead)
	case k.step > 0 && v%k.step != 0:
		refuse(formatDuration(v)+" is not a multiple of "+formatDuration(k.step), instead)
	default:
		*k.into = v
	}
}

// withUnit suggests the unit with which the bare number s is in range.
func (k duration) withUnit(s string) string {
	for _, unit := range []string{"s", "ms", "m", "h"} {
		v, err := time.ParseDuration(s + unit)
		if err == nil && (v >= k.min && v <= k.max || k.off && v == 0) {
			return "write " + s + unit + " if " + unitNames[unit] + " are meant"
		}
	}
	return "write " + k.spec()
}

var unitNames = map[string]string{"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours"}

func (k duration) limits() string {
	return formatDuration(k.min) + " to " + formatDuration(k.max)
}

func (k duration) spec() string {
	s := "a duration, " + k.limits()
	if k.step == time.Second {
		s += ", whole seconds"
	} else if k.step > 0 {
		s += ", multiples of " + formatDuration(k.step)
	}
	if k.off {
		s += ", or 0s for none"
	}
	return s
}

// formatDuration is time.Duration's String without its trailing zero parts:
// 1m, not 1m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
