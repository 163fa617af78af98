// A room server on ws.   node ws_server.js PORT
const { WebSocketServer } = require("ws");
const http = require("http").createServer();
const server = new WebSocketServer({ server: http, perMessageDeflate: false });
const KEPT = 10000;
const rooms = new Map();
server.on("connection", (socket) => {
  let mine = null;
  socket.on("message", (message) => {
    const said = JSON.parse(message);
    if (!rooms.has(said.room)) rooms.set(said.room, { sequence: 0, members: new Set(), kept: [] });
    const room = rooms.get(said.room);
    if (said.t === "pub") {
      room.sequence++;
      const text = JSON.stringify({ t: "ev", seq: room.sequence, d: said.d });
      room.kept.push(text);
      if (room.kept.length > KEPT) room.kept.shift();
      for (const member of room.members) if (member.readyState === 1) member.send(text);
      return;
    }
    mine = room;
    socket.send('{"t":"joined"}');
    if (said.since !== null) for (const text of room.kept.slice(room.kept.length - (room.sequence - said.since))) socket.send(text);
    room.members.add(socket);
  });
  socket.on("close", () => mine && mine.members.delete(socket));
  socket.on("error", () => {});
});
http.listen(+process.argv[2], "127.0.0.1", 4096);
