// What go-redis does with `edgeloop kv`, in either version of the protocol: go_redis HOST:PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	for _, protocol := range []int{2, 3} {
		if err := try(protocol); err != nil {
			fmt.Fprintf(os.Stderr, "go-redis in RESP%d: %v\n", protocol, err)
			os.Exit(1)
		}
		fmt.Printf("go-redis %s in RESP%d: ok\n", redis.Version(), protocol)
	}
}

func try(protocol int) error {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: os.Args[1], Protocol: protocol})
	defer client.Close()
	if err := client.FlushAll(ctx).Err(); err != nil {
		return err
	}
	var sum *redis.IntCmd
	_, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Set(ctx, "a", 1, 0)
		sum = pipe.Incr(ctx, "a")
		return nil
	})
	if err != nil || sum.Val() != 2 {
		return fmt.Errorf("a transaction: %v, %v", sum, err)
	}
	for _, disturbed := range []bool{true, false} {
		err := client.Watch(ctx, func(tx *redis.Tx) error {
			if disturbed {
				client.Set(ctx, "a", 50, 0)
			}
			_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
				return pipe.Set(ctx, "a", 6, 0).Err()
			})
			return err
		}, "a")
		if errors.Is(err, redis.TxFailedErr) != disturbed || (err != nil && !disturbed) {
			return fmt.Errorf("a watched key, disturbed %v: %v", disturbed, err)
		}
	}
	done, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		for number := range 5000 {
			pipe.Set(ctx, fmt.Sprint("k", number), "v", 0)
		}
		return nil
	})
	if err != nil || len(done) != 5000 {
		return fmt.Errorf("%d commands: %v", len(done), err)
	}
	return databasesAndMessages(ctx, client, protocol)
}

func databasesAndMessages(ctx context.Context, client *redis.Client, protocol int) error {
	sixth := redis.NewClient(&redis.Options{Addr: os.Args[1], DB: 6, Protocol: protocol})
	defer sixth.Close()
	if err := sixth.Set(ctx, "only", "here", 0).Err(); err != nil {
		return err
	}
	if sixth.DBSize(ctx).Val() != 1 || client.Exists(ctx, "only").Val() != 0 {
		return errors.New("databases are not apart")
	}
	listener := client.Subscribe(ctx, "news")
	defer listener.Close()
	if _, err := listener.Receive(ctx); err != nil {
		return err
	}
	_, err := client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		return pipe.Publish(ctx, "news", "hi").Err()
	})
	if err != nil {
		return err
	}
	message, err := listener.ReceiveMessage(ctx)
	if err != nil || message.Payload != "hi" {
		return fmt.Errorf("a message: %v, %v", message, err)
	}
	found := 0
	for keys := client.Scan(ctx, 0, "k1*", 500).Iterator(); keys.Next(ctx); found++ {
	}
	if found != 1111 {
		return fmt.Errorf("%d keys were found", found)
	}
	return nil
}
