package sessiondtest

import (
	"net"
	"sync"
	"testing"
)

// Proxy stands between a client and the daemon, to cut their connections: for tests of what a program does then.
type Proxy struct {
	// Address is where the client connects: HOST:PORT.
	Address string

	listener net.Listener
	to       string
	wait     sync.WaitGroup

	mutex   sync.Mutex
	conns   map[net.Conn]struct{}
	refuses bool
	closed  bool
	passed  int64 // Bytes from the daemon.
	limit   int64 // Cut when so many have passed; 0 for never.
	hasCut  bool  // By that.
}

// NewProxy starts a proxy to an address, which ends with the test.
func NewProxy(t testing.TB, to string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Address: listener.Addr().String(), listener: listener, to: to, conns: map[net.Conn]struct{}{}}
	p.wait.Add(1)
	go p.accept()
	t.Cleanup(func() {
		_ = listener.Close()
		p.mutex.Lock()
		p.closed = true
		p.mutex.Unlock()
		p.Cut()
		p.wait.Wait()
	})
	return p
}

// Cut closes every connection there is. New ones are accepted.
func (p *Proxy) Cut() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.cutLocked()
}

func (p *Proxy) cutLocked() {
	for conn := range p.conns {
		_ = conn.Close()
	}
	clear(p.conns)
}

// CutAfter cuts every connection once, when so many bytes from the daemon have passed.
func (p *Proxy) CutAfter(bytes int64) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.passed, p.limit, p.hasCut = 0, bytes, false
}

// HasCut says whether CutAfter has cut.
func (p *Proxy) HasCut() bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.hasCut
}

// Refuse closes every connection there is and, until it is called with false, every new one.
func (p *Proxy) Refuse(refuse bool) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.refuses = refuse
	if refuse {
		p.cutLocked()
	}
}

func (p *Proxy) accept() {
	defer p.wait.Done()
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !p.keep(client, server) {
			continue
		}
		p.wait.Add(2)
		go p.pass(server, client, nil)
		go p.pass(client, server, p.count)
	}
}

func (p *Proxy) keep(conns ...net.Conn) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, conn := range conns {
		if p.refuses || p.closed {
			_ = conn.Close()
		} else {
			p.conns[conn] = struct{}{}
		}
	}
	return !p.refuses && !p.closed
}

// pass copies until one side is closed, and then closes both.
func (p *Proxy) pass(to, from net.Conn, count func(int) bool) {
	defer p.wait.Done()
	defer func() {
		_ = to.Close()
		_ = from.Close()
		p.mutex.Lock()
		defer p.mutex.Unlock()
		delete(p.conns, to)
		delete(p.conns, from)
	}()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && (count == nil || count(n)) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// count says whether the bytes may pass.
func (p *Proxy) count(n int) bool {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.passed += int64(n)
	if p.limit == 0 || p.passed < p.limit {
		return true
	}
	p.limit, p.hasCut = 0, true
	p.cutLocked()
	return false
}
