// SPDX-License-Identifier: Apache-2.0

package election

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// Every event and action has a name in the journal: that of its Go type.
var eventTypes = named(
	Start{}, Tick{}, Stalled{}, AdvertReceived{}, HealthChanged{}, ServerExited{}, ServerStarted{},
	LinkChanged{}, AddressLost{}, PeerHeard{}, FarewellReceived{}, SealRequested{}, StandRequested{},
	SealEnded{}, GatherEnded{}, PromoteEnded{}, ClaimEnded{}, RenewEnded{}, ReleaseEnded{},
	DemoteEnded{}, FollowEnded{}, FinishEnded{}, RightChanged{}, RecordChanged{}, EstablishEnded{}, Command{},
)

func named(values ...any) map[string]reflect.Type {
	types := make(map[string]reflect.Type, len(values))
	for _, v := range values {
		t := reflect.TypeOf(v)
		types[t.Name()] = t
	}
	return types
}

// tagged is the form of an event or action in the journal.
type tagged struct {
	Type string          `json:"type"`
	Body json.RawMessage `json:"body,omitempty"`
}

func tag(v any) (tagged, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return tagged{}, fmt.Errorf("encode %T: %w", v, err)
	}
	if bytes.Equal(body, []byte("{}")) {
		body = nil
	}
	return tagged{Type: reflect.TypeOf(v).Name(), Body: body}, nil
}

// MarshalEvent writes an event as the journal holds it.
func MarshalEvent(ev Event) ([]byte, error) {
	t, err := tag(ev)
	if err != nil {
		return nil, err
	}
	return json.Marshal(t)
}

// MarshalActions writes the actions of one step as the journal holds them.
func MarshalActions(actions []Action) ([]json.RawMessage, error) {
	list := make([]json.RawMessage, 0, len(actions))
	for _, a := range actions {
		t, err := tag(a)
		if err != nil {
			return nil, err
		}
		b, err := json.Marshal(t)
		if err != nil {
			return nil, fmt.Errorf("encode %T: %w", a, err)
		}
		list = append(list, b)
	}
	return list, nil
}

// UnmarshalEvent reads what [MarshalEvent] wrote. Unknown types and fields are errors: a
// journal of another version must not replay as something else.
func UnmarshalEvent(b []byte) (Event, error) {
	var t tagged
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	typ, ok := eventTypes[t.Type]
	if !ok {
		return nil, fmt.Errorf("decode event: unknown type %q", t.Type)
	}
	v := reflect.New(typ)
	if len(t.Body) > 0 {
		dec := json.NewDecoder(bytes.NewReader(t.Body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(v.Interface()); err != nil {
			return nil, fmt.Errorf("decode %s: %w", t.Type, err)
		}
	}
	return v.Elem().Interface().(Event), nil
}
