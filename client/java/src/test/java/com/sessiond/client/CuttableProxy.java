package com.sessiond.client;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

/** Passes bytes on between a client and a daemon, until it is told to cut the connections there are. */
final class CuttableProxy implements AutoCloseable {
  private final ServerSocket listener;
  private final String host;
  private final int port;
  private final Set<Socket> sockets = ConcurrentHashMap.newKeySet();
  private final AtomicInteger cuts = new AtomicInteger();

  CuttableProxy(String daemon) {
    int colon = daemon.lastIndexOf(':');
    host = daemon.substring(0, colon);
    port = Integer.parseInt(daemon.substring(colon + 1));
    try {
      listener = new ServerSocket(0, 50, InetAddress.getLoopbackAddress());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    start(this::accept);
  }

  String address() {
    return "127.0.0.1:" + listener.getLocalPort();
  }

  /** Closes every connection; new ones are accepted. */
  void cut() {
    if (!sockets.isEmpty()) cuts.incrementAndGet();
    sockets.forEach(CuttableProxy::end);
  }

  /** How often there was something to cut. */
  int cuts() {
    return cuts.get();
  }

  @Override
  public void close() {
    try {
      listener.close();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    sockets.forEach(CuttableProxy::end);
  }

  private void accept() {
    try {
      while (true) {
        Socket client = listener.accept();
        Socket daemon = new Socket(host, port);
        sockets.add(client);
        sockets.add(daemon);
        start(() -> pass(client, daemon));
        start(() -> pass(daemon, client));
      }
    } catch (IOException e) {
      // Closed.
    }
  }

  private void pass(Socket from, Socket to) {
    try {
      from.getInputStream().transferTo(to.getOutputStream());
    } catch (IOException e) {
      // Cut.
    }
    end(from);
    end(to);
    sockets.remove(from);
    sockets.remove(to);
  }

  private static void end(Socket socket) {
    try {
      socket.close();
    } catch (IOException e) {
      // It is gone already.
    }
  }

  private static void start(Runnable work) {
    Thread thread = new Thread(work, "cuttable-proxy");
    thread.setDaemon(true);
    thread.start();
  }
}
