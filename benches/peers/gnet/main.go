// Echo and broadcast on gnet, with one event loop.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"

	"github.com/panjf2000/gnet/v2"
	"github.com/panjf2000/gnet/v2/pkg/logging"
)

// What a line may have at most; a peer that sends more without a newline is disconnected.
const lineMax = 64 * 1024

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: gnet echo|broadcast PORT")
	}
	var handler gnet.EventHandler
	switch os.Args[1] {
	case "echo":
		handler = &echo{}
	case "broadcast":
		handler = &broadcast{members: make(map[gnet.Conn]struct{})}
	default:
		log.Fatalf("no service `%s`", os.Args[1])
	}
	// gnet itself asks for the longest backlog that the system permits.
	err := gnet.Run(handler, fmt.Sprintf("tcp4://127.0.0.1:%s", os.Args[2]),
		gnet.WithMulticore(false),
		gnet.WithTCPNoDelay(gnet.TCPNoDelay),
		gnet.WithLogLevel(logging.ErrorLevel))
	if err != nil {
		log.Fatal(err)
	}
}

type echo struct{ gnet.BuiltinEventEngine }

func (*echo) OnTraffic(connection gnet.Conn) gnet.Action {
	input, err := connection.Next(-1)
	if err != nil {
		return gnet.Close
	}
	if _, err := connection.Write(input); err != nil {
		return gnet.Close
	}
	return gnet.None
}

// The loop over all: what came from one is written to each of the others in turn. There is one
// event loop, so the map needs no lock.
type broadcast struct {
	gnet.BuiltinEventEngine
	members map[gnet.Conn]struct{}
}

func (server *broadcast) OnOpen(connection gnet.Conn) ([]byte, gnet.Action) {
	server.members[connection] = struct{}{}
	return nil, gnet.None
}

func (server *broadcast) OnClose(connection gnet.Conn, _ error) gnet.Action {
	delete(server.members, connection)
	return gnet.None
}

// All whole lines that are there are passed on in one piece.
func (server *broadcast) OnTraffic(connection gnet.Conn) gnet.Action {
	input, err := connection.Peek(-1)
	if err != nil {
		return gnet.Close
	}
	end := bytes.LastIndexByte(input, '\n') + 1
	if end == 0 {
		if len(input) > lineMax {
			return gnet.Close
		}
		return gnet.None
	}
	for member := range server.members {
		if member != connection {
			// A member that is gone is reported to OnClose, and costs the others nothing.
			_, _ = member.Write(input[:end])
		}
	}
	_, _ = connection.Discard(end)
	return gnet.None
}
