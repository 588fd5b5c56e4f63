package crash

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// stompConn is a STOMP 1.2 connection that pipelines.
type stompConn struct {
	conn net.Conn
	in   *bufio.Reader
}

// stompFrame is a frame as it came; of repeated headers the first counts.
type stompFrame struct {
	command string
	headers map[string]string
	body    string
}

func (w *world) dialSTOMP() (*stompConn, error) {
	conn, err := net.DialTimeout("tcp", *w.stomp.Load(), 2*time.Second)
	if err != nil {
		return nil, err
	}
	c := &stompConn{conn: conn, in: bufio.NewReaderSize(conn, 64<<10)}
	if err := c.send("CONNECT", "", "accept-version:1.2", "host:/", "login:guest", "passcode:guest", "client-id:crash"); err != nil {
		return nil, err
	}
	if f, err := c.read(confirmTimeout); err != nil || f.command != "CONNECTED" {
		conn.Close()
		return nil, fmt.Errorf("CONNECT: %+v, %w", f, err)
	}
	return c, nil
}

func stompText(command, body string, headers ...string) string {
	return command + "\n" + strings.Join(headers, "\n") + "\n\n" + body + "\x00"
}

func (c *stompConn) send(command, body string, headers ...string) error {
	return c.write(stompText(command, body, headers...))
}

func (c *stompConn) write(text string) error {
	_, err := io.WriteString(c.conn, text)
	return err
}

// read returns the next frame, or an error when none comes in time.
func (c *stompConn) read(limit time.Duration) (*stompFrame, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(limit))
	f := &stompFrame{headers: map[string]string{}}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = line[:len(line)-1]
		if f.command == "" {
			f.command = line
			continue
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		if _, repeated := f.headers[name]; !repeated {
			f.headers[name] = value
		}
	}
	if n, err := strconv.Atoi(f.headers["content-length"]); err == nil {
		body := make([]byte, n+1)
		if _, err := io.ReadFull(c.in, body); err != nil {
			return nil, err
		}
		f.body = string(body[:n])
		return f, nil
	}
	body, err := c.in.ReadString(0)
	f.body = strings.TrimSuffix(body, "\x00")
	return f, err
}

// subscribe waits for the receipt.
func (c *stompConn) subscribe(destination string, headers ...string) error {
	if err := c.send("SUBSCRIBE", "", append(headers, "id:0", "receipt:sub", "ack:client-individual", "destination:"+destination)...); err != nil {
		return err
	}
	f, err := c.read(confirmTimeout)
	if err == nil && f.command != "RECEIPT" {
		err = fmt.Errorf("SUBSCRIBE to %s: %+v", destination, f)
	}
	return err
}
