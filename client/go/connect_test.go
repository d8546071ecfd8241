package sessiond_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	sessiond "github.com/sessiond/sessiond/client/go"
	"github.com/sessiond/sessiond/client/go/sessiondv1"
)

func TestAnAddressThatCannotBeIsRefusedWithTheWayOut(t *testing.T) {
	for address, want := range map[string]string{
		"localhost":             "give HOST:PORT",
		"http://localhost:7377": "without http://",
		"https://db:7377":       "WithTLS",
		"localhost:http":        "a number from 1 to 65535",
		"localhost:70000":       "a number from 1 to 65535",
		"::1:7377":              "give HOST:PORT",
	} {
		_, err := sessiond.Dial(sessiond.WithAddress(address))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), address) {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"127.0.0.1:1", "[::1]:7377", "unix:/run/s.sock", "dns:///sessiond:7377"} {
		client, err := sessiond.Dial(sessiond.WithAddress(address))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		_ = client.Close()
	}
}

func TestTheEnvironmentSaysWhereAndWithWhichToken(t *testing.T) {
	f := &fake{get: inTurn()}
	f.listen(t)
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, []byte("first\n"))
	t.Setenv("SESSIOND_SERVER", f.address)
	t.Setenv("SESSIOND_TOKEN_FILE", file)
	client, err := sessiond.Dial()
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	get := func() error {
		_, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
		return err
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	write(t, file, []byte("\uFEFFsecond\r\n"))
	if err := get(); err != nil {
		t.Fatal(err)
	}
	// In the middle of a rotation.
	for _, content := range []string{"", "\uFEFF", "half a token"} {
		write(t, file, []byte(content))
		if err := get(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := get(); err != nil {
		t.Fatal(err)
	}
	write(t, file, []byte("third"))
	if err := get(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"Bearer first", "Bearer second", "Bearer second", "Bearer second", "Bearer second",
		"Bearer second", "Bearer third"} {
		if got := f.seen()[i].metadata.Get("authorization"); len(got) != 1 || got[0] != want {
			t.Errorf("Call %d carried %q", i, got)
		}
	}
}

func TestATokenThatNoHeaderTakesIsRefusedAndNotTold(t *testing.T) {
	f := &fake{get: inTurn()}
	f.listen(t)
	file := filepath.Join(t.TempDir(), "file")
	for _, content := range []string{"", " \n", "\uFEFF", "Bearer canary", "canary\x00", "can\nary", "canary\u00E9",
		"c\x00a\x00n\x00", "canary\xff"} {
		write(t, file, []byte(content))
		source := func(context.Context) (string, error) { return content, nil }
		if client, err := sessiond.Dial(sessiond.WithToken(content)); err == nil ||
			!strings.Contains(err.Error(), "WithToken: ") || strings.Contains(err.Error(), "can") {
			t.Errorf("%q: %v, %v", content, client, err)
		}
		for name, option := range map[string]sessiond.Option{
			"the token file " + file: sessiond.WithTokenFile(file), "the token: ": sessiond.WithTokenSource(source)} {
			client, err := sessiond.Dial(sessiond.WithAddress(f.address), option)
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
			_ = client.Close()
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), name) ||
				content != "" && strings.Contains(err.Error(), content) || strings.Contains(err.Error(), "can") {
				t.Errorf("%q: %v", content, err)
			}
		}
	}
	if len(f.seen()) != 0 {
		t.Errorf("There was sent %v", f.seen()[0].metadata)
	}
}

func TestWhatIsGivenAsEmptyIsRefusedByItsName(t *testing.T) {
	for want, option := range map[string]sessiond.Option{
		"WithAddress": sessiond.WithAddress(""), "WithTokenFile": sessiond.WithTokenFile(""),
		"WithToken": sessiond.WithToken(""),
	} {
		if client, err := sessiond.Dial(option); err == nil || !strings.Contains(err.Error(), want+": ") {
			t.Errorf("%s: %v, %v", want, client, err)
		}
	}
}

func TestATokenDoesNotLeaveTheMachineInPlaintext(t *testing.T) {
	token := sessiond.WithToken("secret")
	for address, local := range map[string]bool{
		"127.0.0.1:7377": true, "localhost:7377": true, "[::1]:7377": true, "unix:/run/s.sock": true,
		"10.0.0.7:7377": false, "sessiond:7377": false, "dns:///sessiond:7377": false, "localhost.example:7377": false,
	} {
		client, err := sessiond.Dial(sessiond.WithAddress(address), token)
		if (err == nil) != local {
			t.Errorf("%s: %v", address, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("The error tells the token: %v", err)
		}
		if client != nil {
			_ = client.Close()
		}
	}
	client, err := sessiond.Dial(sessiond.WithAddress("sessiond:7377"), token, sessiond.WithPlaintextToken())
	if err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
}

// authority issues certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: "test"}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue writes a certificate and its key, and answers with their files.
func (a *authority) issue(folder, name string) (certFile, keyFile string) {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(folder, name+".pem"), filepath.Join(folder, name+".key")
	write(a.t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	write(a.t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return certFile, keyFile
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTLSAndMutualTLS(t *testing.T) {
	folder := t.TempDir()
	ours, foreign := newAuthority(t), newAuthority(t)
	caFile, foreignFile := filepath.Join(folder, "ca.pem"), filepath.Join(folder, "foreign.pem")
	write(t, caFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ours.cert.Raw}))
	write(t, foreignFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: foreign.cert.Raw}))
	serverCert, serverKey := ours.issue(folder, "server")
	clientCert, clientKey := ours.issue(folder, "client")
	foreignCert, foreignKey := foreign.issue(folder, "foreign-client")

	pair, err := tls.LoadX509KeyPair(serverCert, serverKey)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	for _, each := range []struct {
		name      string
		auth      tls.ClientAuthType
		option    sessiond.Option
		connected bool
	}{
		{"our authority", tls.NoClientCert, sessiond.WithTLSFiles(caFile, "", ""), true},
		{"a configuration", tls.NoClientCert, sessiond.WithTLS(&tls.Config{RootCAs: roots}), true},
		{"a foreign authority", tls.NoClientCert, sessiond.WithTLSFiles(foreignFile, "", ""), false},
		{"our certificate", tls.RequireAndVerifyClientCert, sessiond.WithTLSFiles(caFile, clientCert, clientKey), true},
		{"no certificate", tls.RequireAndVerifyClientCert, sessiond.WithTLSFiles(caFile, "", ""), false},
		{"a foreign certificate", tls.RequireAndVerifyClientCert, sessiond.WithTLSFiles(caFile, foreignCert, foreignKey),
			false},
		{"plaintext", tls.NoClientCert, sessiond.WithTimeout(300 * time.Millisecond), false},
	} {
		t.Run(each.name, func(t *testing.T) {
			f := &fake{get: inTurn()}
			f.listen(t, grpc.Creds(credentials.NewTLS(
				&tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: each.auth, ClientCAs: roots,
					MinVersion: tls.VersionTLS12})))
			patience := 500 * time.Millisecond // For what will not come.
			if each.connected {
				patience = 10 * time.Second
			}
			client, err := sessiond.Dial(sessiond.WithTimeout(patience), each.option,
				sessiond.WithAddress(f.address), sessiond.WithToken("t"))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			_, err = client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{})
			if (err == nil) != each.connected {
				t.Error(err)
			}
		})
	}
	for _, option := range []sessiond.Option{
		sessiond.WithTLSFiles(filepath.Join(folder, "nowhere"), "", ""), sessiond.WithTLSFiles(serverKey, "", ""),
		sessiond.WithTLSFiles(caFile, clientCert, ""), sessiond.WithTLSFiles(caFile, clientCert, serverKey),
	} {
		if client, err := sessiond.Dial(option); err == nil {
			_ = client.Close()
			t.Error("Files that cannot be used were taken")
		}
	}
}

// Each file with authorities or a chain was put together from others, which an editor may have marked.
func TestByteOrderMarksHideNoCertificate(t *testing.T) {
	folder := t.TempDir()
	const mark = "\uFEFF"
	textOf := func(a *authority) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
	}
	ours, foreign := newAuthority(t), newAuthority(t)
	caFile := filepath.Join(folder, "ca.pem")
	certFile, keyFile := ours.issue(folder, "both")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{certFile, keyFile} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, append([]byte(mark), content...))
	}
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	f := &fake{get: inTurn()}
	f.listen(t, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS12})))
	for _, content := range []string{
		mark + textOf(ours), textOf(foreign) + mark + textOf(ours), mark + textOf(ours) + mark + textOf(foreign),
		"# A comment about -----BEGIN CERTIFICATE-----\n" + textOf(ours),
		strings.ReplaceAll(textOf(foreign)+textOf(ours), "\n", "\r\n"),
	} {
		write(t, caFile, []byte(content))
		client, err := sessiond.Dial(sessiond.WithAddress(f.address), sessiond.WithTLSFiles(caFile, certFile, keyFile))
		if err != nil {
			t.Errorf("%.30q: %v", content, err)
			continue
		}
		if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil {
			t.Errorf("%.30q: %v", content, err)
		}
		_ = client.Close()
	}
	for _, content := range []string{
		"", "no certificate", textOf(ours) + "\u00A0" + textOf(foreign), " " + textOf(ours),
		textOf(ours) + strings.Replace(textOf(foreign), "-----\n", "-----\nAAAA", 1),
		textOf(ours) + strings.Replace(textOf(foreign), "-----END", "", 1),
	} {
		write(t, caFile, []byte(content))
		client, err := sessiond.Dial(sessiond.WithTLSFiles(caFile, "", ""))
		if err == nil || !strings.Contains(err.Error(), caFile) {
			t.Errorf("%.30q: %v", content, err)
		}
		if client != nil {
			_ = client.Close()
		}
	}
}

// A certificate of an authority whose key is on a curve that Go does not know, until 2126.
const brainpool = `-----BEGIN CERTIFICATE-----
MIIBgDCCASagAwIBAgIUTVslMBAWUUjSxI9UPb5+jwWCwo4wCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJYnJhaW5wb29sMCAXDTI2MTIwMTEyMTA1M1oYDzIxMjYxMTA3
MTIxMDUzWjAUMRIwEAYDVQQDDAlicmFpbnBvb2wwWjAUBgcqhkjOPQIBBgkrJAMD
AggBAQcDQgAEGWta1sqUJoaCDX8kwc1ftupnVujc68kSNxVWyGRpdKKfyRJeMA0t
Uq8FamHRdxnJa375v5PuriudMn00nEI6tqNTMFEwHQYDVR0OBBYEFBUTU0Jv6FcH
IeFdXTNWr5W/71nfMB8GA1UdIwQYMBaAFBUTU0Jv6FcHIeFdXTNWr5W/71nfMA8G
A1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgfKk0dlwuKsaDg9du5sC8
YRZh75tR5H+94DrL/6bbfiwCIQCbihHMVtMAGZh9kOBYBnNfHE2Pbt32nw43sGeH
gfNaJg==
-----END CERTIFICATE-----
`

// Other clients take these files too.
func TestCertificatesThatOnlyGoCannotUseArePassedOver(t *testing.T) {
	folder := t.TempDir()
	textOf := func(label string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}))
	}
	ours := newAuthority(t)
	text := textOf("CERTIFICATE", ours.cert.Raw)
	serial := ours.cert.SerialNumber.Bytes()
	negative := append([]byte{serial[0] | 0x80}, serial[1:]...)
	negativeSerial := textOf("CERTIFICATE", bytes.Replace(ours.cert.Raw, serial, negative, 1))
	trusted := textOf("TRUSTED CERTIFICATE", append(bytes.Clone(ours.cert.Raw), 0x30, 0x00))

	caFile := filepath.Join(folder, "ca.pem")
	certFile, keyFile := ours.issue(folder, "both")
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := os.ReadFile(certFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ours.cert)
	f := &fake{get: inTurn()}
	f.listen(t, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{pair},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS12})))
	for name, each := range map[string]struct{ authorities, chain string }{
		"a curve before ours":     {brainpool + text, string(leaf)},
		"a curve behind ours":     {text + brainpool, string(leaf)},
		"a negative serial":       {negativeSerial + text, string(leaf)},
		"OpenSSL's own form":      {trusted + text, string(leaf)},
		"the old label":           {textOf("X509 CERTIFICATE", ours.cert.Raw), string(leaf)},
		"the chain's other forms": {text, trusted + strings.ReplaceAll(string(leaf), " CERTIFICATE", " X509 CERTIFICATE")},
	} {
		write(t, caFile, []byte(each.authorities))
		write(t, certFile, []byte(each.chain))
		client, err := sessiond.Dial(sessiond.WithAddress(f.address), sessiond.WithTLSFiles(caFile, certFile, keyFile))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_ = client.Close()
	}
	for name, content := range map[string]string{
		"none that Go can use":         brainpool,
		"none":                         trusted,
		"one that is cut off":          text + textOf("CERTIFICATE", ours.cert.Raw[:len(ours.cert.Raw)-1]),
		"one with something behind it": text + textOf("CERTIFICATE", append(bytes.Clone(ours.cert.Raw), 0x30, 0x00)),
		"a number":                     text + textOf("CERTIFICATE", []byte{0x02, 0x01, 0x01}),
		"one with nothing in it":       text + textOf("CERTIFICATE", nil),
		"one that is indented":         text + " " + brainpool,
	} {
		write(t, caFile, []byte(content))
		client, err := sessiond.Dial(sessiond.WithTLSFiles(caFile, "", ""))
		if err == nil || !strings.Contains(err.Error(), caFile) {
			t.Errorf("%s: %v", name, err)
		}
		if client != nil {
			_ = client.Close()
		}
	}
	write(t, caFile, []byte(text))
	// A server in Go does not take this one, so it is not shown to it.
	write(t, certFile, []byte(string(leaf)+brainpool))
	client, err := sessiond.Dial(sessiond.WithTLSFiles(caFile, certFile, keyFile))
	if err != nil {
		t.Fatal("A curve in the chain: ", err)
	}
	_ = client.Close()
	write(t, certFile, []byte(string(leaf)+textOf("CERTIFICATE", ours.cert.Raw[:99])))
	if _, err := sessiond.Dial(sessiond.WithTLSFiles(caFile, certFile, keyFile)); err == nil ||
		!strings.Contains(err.Error(), certFile) {
		t.Errorf("A chain that is cut off: %v", err)
	}
}

func TestATokenSourceThatFailsForAMomentIsAskedAgain(t *testing.T) {
	f := &fake{get: inTurn()}
	asked := 0
	client := f.serve(t, sessiond.WithTokenSource(func(context.Context) (string, error) {
		if asked++; asked == 1 {
			return "", status.Error(codes.Unavailable, "the issuer is away")
		}
		return "t", nil
	}))
	if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil || asked != 2 {
		t.Errorf("Asked %d times: %v", asked, err)
	}
}

func TestAClientOverAConnectionOfOnesOwn(t *testing.T) {
	f := &fake{get: inTurn(unavailable)}
	f.listen(t)
	outer := f.serve(t)
	client := sessiond.New(outer.Conn()) // Any connection will do.
	if _, err := client.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil {
		t.Error(err)
	}
	if err := client.Close(); err != nil {
		t.Error(err)
	}
	if _, err := outer.GetSession(t.Context(), &sessiondv1.GetSessionRequest{}); err != nil {
		t.Error("The connection was closed with the client: ", err)
	}
}
