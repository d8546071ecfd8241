package sessiond

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc/credentials"
)

// TokenSource returns the bearer token of a call. It is asked for every attempt, from several goroutines at once,
// and has to cache what is dear. Its error ends the call as UNAUTHENTICATED; one that is a status of gRPC is taken
// as it is, so that UNAVAILABLE is tried again.
type TokenSource func(ctx context.Context) (string, error)

// WithToken sends a bearer token with every call.
func WithToken(token string) Option {
	return WithTokenSource(func(context.Context) (string, error) { return token, nil })
}

// WithTokenSource sends the bearer token that the callback returns with every call.
func WithTokenSource(source TokenSource) Option {
	return func(c *config) { c.token = source }
}

// WithTokenFile sends the bearer token in a file with every call; see [FileToken].
func WithTokenFile(path string) Option { return WithTokenSource(FileToken(path)) }

// WithPlaintextToken allows a token on a connection without encryption that leaves this machine.
func WithPlaintextToken() Option {
	return func(c *config) { c.plainToken = true }
}

// FileToken reads the token from a file, without the white space around it, every time: a token that is replaced there
// is used from the next call on.
func FileToken(path string) TokenSource {
	return func(context.Context) (string, error) {
		content, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("sessiond: the token cannot be read: %w", err)
		}
		token := strings.TrimSpace(string(content))
		if token == "" {
			return "", fmt.Errorf("sessiond: there is no token in %s", path)
		}
		return token, nil
	}
}

// WithTLS encrypts the connection. With Certificates or GetClientCertificate in the configuration, the client shows its
// own (mutual TLS). A nil configuration trusts the system's authorities.
func WithTLS(tlsConfig *tls.Config) Option {
	return func(c *config) { c.credentials = credentials.NewTLS(tlsConfig) }
}

// WithTLSFiles encrypts the connection, and trusts the authorities in caFile (PEM); "" for the system's. With certFile
// and keyFile (PEM) the client shows this certificate; both are read for every connection, so that they can be renewed.
func WithTLSFiles(caFile, certFile, keyFile string) Option {
	return func(c *config) {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if caFile != "" {
			pem, err := os.ReadFile(caFile)
			if err != nil {
				c.err = fmt.Errorf("sessiond: the authorities cannot be read: %w", err)
				return
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(pem) {
				c.err = fmt.Errorf("sessiond: there is no certificate in PEM in %s", caFile)
				return
			}
		}
		if (certFile == "") != (keyFile == "") {
			c.err = fmt.Errorf("sessiond: a client certificate takes certFile and keyFile; only one is given")
			return
		}
		if certFile != "" {
			// Now, so that a mistake shows now.
			if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
				c.err = fmt.Errorf("sessiond: the client certificate cannot be used: %w", err)
				return
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				certificate, err := tls.LoadX509KeyPair(certFile, keyFile)
				return &certificate, err
			}
		}
		c.credentials = credentials.NewTLS(config)
	}
}

// bearer puts the token into a call's metadata.
type bearer struct{ source TokenSource }

func (b bearer) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	token, err := b.source(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token}, nil
}

// RequireTransportSecurity is false because Dial has looked at where the token goes.
func (b bearer) RequireTransportSecurity() bool { return false }
