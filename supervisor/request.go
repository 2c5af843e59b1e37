// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"sync"

	"highwater/election"
	"highwater/supervisor/peer"
)

// answer is what a request from a peer or an operator is answered with.
type answer struct {
	accepted bool
	code     election.Code
	seal     *peer.SealReply
}

// requests pairs the tokens of requests that came from outside with those who wait. Their
// tokens have the top bit set, so that they never meet the Machine's own.
type requests struct {
	mu      sync.Mutex
	last    election.Token
	waiting map[election.Token]chan answer
}

const requestBit election.Token = 1 << 63

func (r *requests) open() (election.Token, <-chan answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[election.Token]chan answer{}
	}
	r.last++
	token := r.last | requestBit
	c := make(chan answer, 1)
	r.waiting[token] = c
	return token, c
}

func (r *requests) answer(token election.Token, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.waiting[token]; c != nil {
		c <- a // buffered; answered once
		delete(r.waiting, token)
	}
}

func (r *requests) forget(token election.Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, token)
}

// ask posts an event that carries a request's token and waits for the Machine's answer.
func (n *Node) ask(ctx context.Context, event func(election.Token) election.Event) (answer, error) {
	token, c := n.requests.open()
	defer n.requests.forget(token)
	n.post(ctx, event(token))
	select {
	case a := <-c:
		return a, nil
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}
