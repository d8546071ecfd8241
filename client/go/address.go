package sessiond

import (
	"fmt"
	"net"
	"strconv"
	"strings"
)

// checkAddress refuses what gRPC would look up as a name, and never find.
func checkAddress(address string) error {
	scheme, rest, hasScheme := strings.Cut(address, ":")
	switch {
	case hasScheme && (scheme == "http" || scheme == "https") && strings.HasPrefix(rest, "//"):
		return fmt.Errorf("sessiond: address %q: give HOST:PORT, without %s:// (WithTLS and WithTLSFiles switch TLS on)",
			address, scheme)
	case strings.Contains(address, "://") || scheme == "unix" || scheme == "unix-abstract":
		return nil // A target of gRPC, or one that it will refuse itself.
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("sessiond: address %q: give HOST:PORT, for example 127.0.0.1:7377, or unix:/PATH", address)
	}
	if number, err := strconv.Atoi(port); err != nil || number < 1 || number > 65535 {
		return fmt.Errorf("sessiond: address %q: the port is a number from 1 to 65535, for example 127.0.0.1:7377", address)
	}
	return nil
}

// isLocal says whether what is sent to the address stays on this machine.
func isLocal(address string) bool {
	if strings.HasPrefix(address, "unix:") || strings.HasPrefix(address, "unix-abstract:") {
		return true
	}
	for _, scheme := range []string{"dns:///", "passthrough:///"} {
		address = strings.TrimPrefix(address, scheme)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
