package sessiond

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"

	"google.golang.org/grpc/credentials"
)

// TokenSource returns the bearer token of a call. It is asked for every attempt, from several goroutines at once,
// and has to cache what is dear. Its error ends the call as UNAUTHENTICATED; one that is a status of gRPC is taken
// as it is, so that UNAVAILABLE is tried again.
type TokenSource func(ctx context.Context) (string, error)

// WithToken sends a bearer token with every call.
func WithToken(token string) Option {
	return func(c *config) {
		if err := checkToken(token); err != nil {
			c.refuse(fmt.Errorf("sessiond: WithToken: %w", err))
		}
		c.token = func(context.Context) (string, error) { return token, nil }
	}
}

// WithTokenSource sends the bearer token that the callback returns with every call.
func WithTokenSource(source TokenSource) Option {
	return func(c *config) { c.token = source }
}

// WithTokenFile sends the bearer token in a file with every call; see [FileToken].
func WithTokenFile(path string) Option {
	return func(c *config) {
		if path == "" {
			c.refuse(errors.New("sessiond: WithTokenFile: the path is empty"))
		}
		c.token = FileToken(path)
	}
}

// WithPlaintextToken allows a token on a connection without encryption that leaves this machine.
func WithPlaintextToken() Option {
	return func(c *config) { c.plainToken = true }
}

// FileToken reads the token from a file, without the white space around it, every time: a token that is replaced there
// is used from the next call on. While there is none in the file, as in the middle of a replacement, the last one is.
func FileToken(path string) TokenSource {
	var mutex sync.Mutex
	var last string
	return func(context.Context) (string, error) {
		mutex.Lock()
		defer mutex.Unlock()
		token, err := readToken(path)
		if err == nil {
			last = token
		}
		if last == "" {
			return "", err
		}
		return last, nil
	}
}

const byteOrderMark = "\uFEFF"

func readToken(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("sessiond: the token cannot be read: %w", err)
	}
	token := strings.TrimSpace(strings.TrimPrefix(string(content), byteOrderMark))
	if err := checkToken(token); err != nil {
		return "", fmt.Errorf("sessiond: the token file %s: %w", path, err)
	}
	return token, nil
}

// checkToken refuses what no header takes. Its error has nothing of the token.
func checkToken(token string) error {
	if token == "" {
		return errors.New("there is no token")
	}
	if strings.ContainsFunc(token, func(r rune) bool { return r < '!' || r > '~' }) {
		return errors.New("a token is one word of visible ASCII, without \"Bearer\" before it")
	}
	return nil
}

// WithTLS encrypts the connection. With Certificates or GetClientCertificate in the configuration, the client shows its
// own (mutual TLS). A nil configuration trusts the system's authorities.
func WithTLS(tlsConfig *tls.Config) Option {
	return func(c *config) { c.credentials = credentials.NewTLS(tlsConfig) }
}

// WithTLSFiles encrypts the connection, and trusts the authorities in caFile (PEM); "" for the system's. With certFile
// and keyFile (PEM) the client shows this certificate; both are read for every connection, so that they can be renewed.
// Authorities that Go cannot use, for their curve for example, are passed over; what is cut off is refused.
func WithTLSFiles(caFile, certFile, keyFile string) Option {
	return func(c *config) {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if caFile != "" {
			authorities, err := readAuthorities(caFile)
			if err != nil {
				c.refuse(fmt.Errorf("sessiond: the authorities cannot be read: %w", err))
				return
			}
			config.RootCAs = authorities
		}
		if (certFile == "") != (keyFile == "") {
			c.refuse(errors.New("sessiond: a client certificate takes certFile and keyFile; only one is given"))
			return
		}
		if certFile != "" {
			// Now, so that a mistake shows now.
			if _, err := readKeyPair(certFile, keyFile); err != nil {
				c.refuse(fmt.Errorf("sessiond: the client certificate cannot be used: %w", err))
				return
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return readKeyPair(certFile, keyFile)
			}
		}
		c.credentials = credentials.NewTLS(config)
	}
}

// readPEM reads a file, and takes off the byte-order marks of the files that it was put together from: pem.Decode
// passes over a block behind one.
func readPEM(path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	return bytes.ReplaceAll(content, []byte(byteOrderMark+"-----BEGIN "), []byte("-----BEGIN ")), err
}

// A line with which a certificate was meant to begin, whatever pem.Decode makes of it: something that nobody sees may
// stand before it.
var beginsCertificate = regexp.MustCompile(`(?:^|[\r\n])[^!-~]*-----BEGIN (?:X509 )?CERTIFICATE-----`)

// readCertificates returns the DER of all certificates of a file in PEM. One that is hidden or cut off is an error;
// what is in it does not matter here.
func readCertificates(path string) ([][]byte, error) {
	content, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	var certificates [][]byte
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue
		}
		if !isSequence(block.Bytes) {
			return nil, fmt.Errorf("%s has a certificate in it that is damaged: the one at place %d", path,
				len(certificates)+1)
		}
		certificates = append(certificates, block.Bytes)
	}
	begun := len(beginsCertificate.FindAllIndex(content, -1))
	switch {
	case begun != len(certificates):
		return nil, fmt.Errorf("%s has %d lines -----BEGIN CERTIFICATE-----, and %d certificates that can be read: "+
			"such a line begins at the left, with nothing before or behind it", path, begun, len(certificates))
	case begun == 0:
		return nil, fmt.Errorf("there is no certificate in PEM in %s", path)
	}
	return certificates, nil
}

// isSequence says whether there is one DER SEQUENCE, whole, and nothing behind it: as a certificate is.
func isSequence(der []byte) bool {
	var value asn1.RawValue
	rest, err := asn1.Unmarshal(der, &value)
	return err == nil && len(rest) == 0 && value.IsCompound && value.Class == asn1.ClassUniversal &&
		value.Tag == asn1.TagSequence
}

// readAuthorities passes over the certificates that only Go cannot use, for their curve or their serial number: a
// bundle is made for many programs. There has to be one that it can.
func readAuthorities(path string) (*x509.CertPool, error) {
	certificates, err := readCertificates(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	usable := false
	var unusable error
	for _, der := range certificates {
		if certificate, err := x509.ParseCertificate(der); err == nil {
			pool.AddCert(certificate)
			usable = true
		} else if unusable == nil {
			unusable = err
		}
	}
	if !usable {
		return nil, fmt.Errorf("%s has no certificate in it that can be used: %w", path, unusable)
	}
	return pool, nil
}

func readKeyPair(certFile, keyFile string) (*tls.Certificate, error) {
	certificates, err := readCertificates(certFile)
	if err != nil {
		return nil, err
	}
	var chain []byte // With the one label that X509KeyPair takes.
	for _, der := range certificates {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	key, err := readPEM(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", certFile, keyFile, err)
	}
	return &pair, nil
}

// bearer puts the token into a call's metadata.
type bearer struct{ source TokenSource }

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.source(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkToken(token); err != nil {
		return nil, fmt.Errorf("sessiond: the token: %w", err)
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is false because Dial has looked at where the token goes.
func (b bearer) RequireTransportSecurity() bool { return false }
