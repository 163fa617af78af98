"""A catalogue of bugs, each a piece of one function of the product changed, and the net in which it must be caught (`planting`, `bite`)."""

from .planting import Bug, applied, fits

__all__ = ["BUGS", "Bug", "applied", "fits"]

BUGS: tuple[Bug, ...] = (
    # The outbox.
    Bug('the newest is sent first', 'protocol.client.outbox:Outbox.take_sendable', 'next(iter(self._queue.values()))', 'next(reversed(self._queue.values()))'),
    Bug('a number that was given up is not declared', 'protocol.client.outbox:Outbox._send', 'None if follows else before', 'None'),
    Bug('what was sent counts as delivered', 'protocol.client.outbox:Outbox.connection_lost', 'message.in_flight = False', 'pass', design=True),
    Bug('copies on their way are not counted', 'protocol.client.outbox:Outbox._send', 'message.copies_out += 1', 'pass'),
    Bug('the outbox forgets its bytes', 'protocol.client.outbox:Outbox.add', 'self._bytes += size_bytes', 'pass', net='outbox'),
    Bug('the outbox has no limit', 'protocol.client.outbox:Outbox._make_room', 'len(self) - len(dropped) >= self._messages_max', 'False'),
    Bug('everything is sent at once', 'protocol.client.outbox:Outbox.take_sendable', 'len(self._unanswered) < self._unanswered_max', 'True'),
    # The inbox and what a client receives.
    Bug('gaps are delivered', 'protocol.client.delivery:Inbox.receive', 'number == self.last + 1', 'number > self.last'),
    Bug('duplicates are delivered, and the cursor moves back', 'protocol.client.delivery:Inbox.receive', 'number == self.last + 1', 'True', design=True),
    Bug('the inbox has no limit', 'protocol.client.delivery:Inbox.receive', 'self.held < self._held_max', 'True'),
    Bug('a gap is not noticed', 'protocol.client.delivery:Inbox.receive', 'bool(self._held)', 'False', net='inbox'),
    Bug('a missing tail is not noticed', 'protocol.client.delivery:EventDelivery.is_behind', 'return self._known_head > self.inbox.last and not self._holding', 'return False', net='tail'),
    Bug('a reset is told as a snapshot', 'protocol.client.delivery:EventDelivery._take_snapshot', 'ResetReceived if announced.outcome == "reset" else SnapshotReceived', 'SnapshotReceived'),
    Bug('a snapshot does not move the cursor', 'protocol.client.delivery:EventDelivery._take_snapshot', 'self.inbox.start_at(announced.epoch, frame.sequence_number)', 'self.inbox.epoch = announced.epoch'),
    Bug('the position is forgotten with the connection', 'protocol.client.delivery:EventDelivery.disconnected', 'self._passed_over = False', 'self.inbox.last = 0', design=True),
    # The log and its readers.
    Bug('a replay is cut, and nobody is told', 'protocol.server.fan_out:FanOut.next_batch', 'reader.after = batch.last', 'reader.after = self._log.head', design=True),
    Bug('a replay is newest first', 'protocol.server.event_log:EventLog.read', 'return tuple(self._events[start:end])', 'return tuple(self._events[start:end][::-1])', design=True),
    Bug('a position of another history is resumed', 'protocol.server.event_log:EventLog.place', 'epoch is not None and epoch != self.epoch', 'False'),
    Bug('a resume begins one event too late', 'protocol.server.event_log:EventLog.place', 'ReadPosition("resumed", None, after, None)', 'ReadPosition("resumed", None, min(after + 1, self.head), None)'),
    Bug('what a socket refused counts as delivered', 'protocol.server.fan_out:FanOut.took_nothing_of', 'batch.first - 1', 'batch.last', net='fan out', design=True),
    # The sequencer and the state.
    Bug('no dedupe: a retry doubles a graft', 'protocol.server.sequencer:Sequencer.publish', 'number <= publisher.last', 'False', design=True),
    Bug('acknowledged before it is stored', 'protocol.server.sequencer:Sequencer._take', 'entry is None and not self._pending', 'not self._pending'),
    Bug('shown before it is stored', 'protocol.server.run:Run.events_to_append', 'return self._appending.take()', 'append = self._appending.take(); append and self._log.append(append.entries, append.snapshot); self._context.actions += self._fan_out.grow(); return append', design=True),
    Bug('only critical events are stored', 'protocol.server.sequencer:Sequencer._record', 'self._to_append.append(entry)', 'entry.event.is_critical and self._to_append.append(entry)', design=True),
    Bug('numbers begin again after a restart', 'protocol.server.sequencer:Sequencer.__init__', 'self._head = stored.head', 'self._head = stored.snapshot.sequence_number', design=True),
    Bug('a restart forgets the answers', 'protocol.server.sequencer:_restored', '_Publisher(client.user_id, rate_limit, client.last_client_sequence, answers)', '_Publisher(client.user_id, rate_limit, client.last_client_sequence, {})'),
    Bug('a hole is taken for nothing', 'protocol.server.sequencer:Sequencer._put_off', 'publisher.last < follows', 'False', net='sequencer'),
    Bug('a restart folds events into a snapshot that has them', 'protocol.server.sequencer:Sequencer.__init__', 'number is not None and number > stored.snapshot.sequence_number', 'number is not None'),
    Bug('what waits for the store has no limit', 'protocol.server.sequencer:Sequencer._put_off', 'self._events_pending >= self._config.appends_pending_max', 'False'),
    Bug('answers are kept for ever', 'protocol.server.sequencer:Sequencer._settle', 'len(publisher.answers) > ANSWERS_KEPT', 'False', net='long'),
    Bug('prunes are not folded', 'protocol.server.fold:Fold.apply', 'self._prunes[step] = None', 'pass'),
    Bug('the first graft wins', 'protocol.server.fold:Fold.apply', 'self._grafts[position] = data', 'self._grafts.setdefault(position, data)'),
    # Sessions and presence.
    Bug('generations are ignored', 'protocol.server.session_table:SessionTable.claim', 'generation < session.generation', 'False'),
    Bug('the old connection keeps the session', 'protocol.server.session_table:SessionTable.claim', 'superseded, session.connection_id = session.connection_id, None', 'superseded, session.connection_id = None, None'),
    Bug('a second tab that leaves takes the user along', 'protocol.server.sessions:Attendance.leave', 'self._sessions[user_id] -= 1', 'self._sessions[user_id] = 0', design=True),
    Bug('a pong goes to the whole run', 'protocol.server.run:Run._receive', 'self._context.send((connection.connection_id,), frames.Pong(nonce=nonce, server_time=now // NS_PER_MS))', 'self._context.send(tuple(self._connections), frames.Pong(nonce=nonce, server_time=now // NS_PER_MS))', design=True),
    Bug('the cursor of who left stays', 'protocol.server.sessions:Attendance.leave', 'self._cursors.pop(user_id, None)', 'pass', net='presence'),
    # Links, waits and pings.
    Bug('attempts are forgotten when a socket opens', 'protocol.client.connectivity:Connectivity.opened', 'self._turn(ClientInput.OPENED, now)', 'self._turn(ClientInput.OPENED, now)\nself.reconnector.steady()', design=True),
    Bug('polling never ends', 'protocol.client.connectivity:Connectivity.proven', 'self._stop_polling()', 'pass', net='polling', design=True),
    Bug('polling cannot send', 'protocol.client.polling:Polling.may_publish', 'self.has_arrived', 'False', net='polling', design=True),
    Bug('a wait that was asked for is ignored', 'protocol.policies.reconnect:Reconnector.asked_to_wait', 'max(self.not_before, now + retry_after_ms * NS_PER_MS)', 'self.not_before'),
    Bug('everyone waits equally long', 'protocol.policies.reconnect:FullJitter.wait_s', 'attempt.uniform(0.0, capped(self.base_s, self.factor, attempt.failures - 1, self.cap_s))', '5.0', net='backoff', design=True),
    Bug('waits do not grow', 'protocol.policies.reconnect:capped', 'return min(cap_s, base_s * factor**exponent)', 'return min(cap_s, base_s)', net='backoff'),
    Bug('a dead line is never noticed', 'protocol.client.keepalive:Keepalive.is_dead', 'return self._has_come(due.dead_s) or self._arm(due, now)', 'return False'),
    Bug('latency is the difference of two clocks', 'protocol.client.session:ClientSession._receive_on_websocket', 'self._keepalive.pong(frame.nonce, now)', 'self._keepalive.pong(frame.nonce, frame.server_time * 1_000_000)', net="keepalive", design=True),
    # Health.
    Bug('failures do not count in the delivery rate', 'protocol.client.health:HealthRecord.report', 'self.accepted / (self.accepted + self.failed)', 'self.accepted / max(1, self.accepted)', net='health'),
    Bug('a percentile is rounded up', 'protocol.client.health:percentile', 'low = math.floor(place)', 'low = math.ceil(place)', net='health'),
    Bug('the score counts latency less', 'protocol.client.health:quality_score', '0.4 * latency', '0.3 * latency', net='health'),
    # The codec.
    Bug('a frame has no limit', 'protocol.codec:_decode', 'size > bytes_max', 'False', net='codec'),
    Bug('a frame is measured in characters', 'protocol.codec:_decode', 'len(message.encode(errors="surrogatepass"))', 'len(message)', net='codec'),
    # The stores.
    Bug("the store takes a client's number twice", 'store.position:Position.conflict_with', 'entry.client_sequence <= newest[client_id]', 'False', net='store'),
    Bug('the store takes any event number', 'store.position:Position.conflict_with', 'number != expected', 'False', net='store'),
    Bug('the store keeps its first snapshot', 'store.memory:MemoryStore._append', 'run.state = state', 'pass', net='store'),
    Bug('the store forgets the answers', 'store.memory:MemoryStore._append', 'answers.append((entry.client_sequence, entry.sequence_number))', 'pass', net='store'),
    # The shell of the client.
    Bug('alarms ring a second late', 'client.trio_io:TrioIO.set_alarm', 'self._clock.in_trios_time(deadline)', 'self._clock.in_trios_time(deadline) + 1', net='parity'),
    Bug('frames are dated a millisecond late', 'client.trio_io:TrioIO.arrived', 'self._driver.receive(connection_id, (frame,), now)', 'self._driver.receive(connection_id, (frame,), now + 1_000_000)', net='parity'),
    Bug('polls do not say where they are', 'client.polling:PollingTransport._ask', 'del parameters["type"]', 'del parameters["type"]; parameters.pop("afterSequence", None); parameters.pop("epoch", None)', net='fallback'),
    Bug('the application is given the newest first', 'client.mailbox:Mailbox.take', 'self._waiting.popitem(last=False)', 'self._waiting.popitem(last=True)', net='slow reader'),
    # Two histories.
    Bug('an answer is told for the history of the position', 'protocol.client.session:ClientSession._receive_on_websocket', 'self._delivery.stream_epoch', 'self._delivery.inbox.epoch'),
    Bug('an answer over HTTP is told for the history of the position', 'protocol.client.session:ClientSession._receive_answer', 'self._publishing.receive(result, now, epoch=epoch)', 'self._publishing.receive(result, now, epoch=self._delivery.inbox.epoch)'),
    Bug('the answer to a poll of a former history counts', 'protocol.client.delivery:EventDelivery.poll', 'self.inbox.epoch not in (asked_in, answer.epoch)', 'False'),
    Bug('a WebSocket of a former history counts', 'protocol.client.delivery:EventDelivery._check_history', 'self.inbox.epoch not in self._stream_epochs', 'False'),
    Bug('numbers of a lost history are acknowledged', 'protocol.client.delivery:EventDelivery.may_ack', 'return self._stream_epochs == (self.inbox.epoch,)', 'return True'),
    Bug('a snapshot from behind the position is taken', 'protocol.client.delivery:EventDelivery._take_snapshot', 'same_epoch and not was_ahead and frame.sequence_number <= self.inbox.last', 'False'),
    Bug('a position ahead of the head is resumed', 'protocol.server.event_log:EventLog.place', 'after > self.head', 'False', net='place'),
    # The window, the waits and the batches.
    Bug('a position that is no longer kept is resumed', 'protocol.server.event_log:EventLog.place', 'not self.holds(after)', 'False'),
    Bug('the log is trimmed past its newest snapshot', 'protocol.server.event_log:EventLog.oldest', 'self.snapshot.sequence_number', 'self.head'),
    Bug('a reader that fell out of the log is not told', 'protocol.server.run:Run.handle_appended', 'self._fan_out.fallen_out()', '()'),
    Bug('a reader that takes nothing is kept', 'protocol.server.fan_out:Readers._watch_lag', '(RunTimer.STALLED, connection_id) not in self._context.timers', 'False'),
    Bug('two batches are with the store at once', 'protocol.server.sequencer:Appending.has_next', 'self._under_way is None', 'True'),
    # The shells, and what lies between a machine and a socket.
    Bug('the session is not told the close code', 'client.websocket:WebSocketTransport.run', 'self._end.code', 'None', net='never'),
    Bug('the session is not told that its connection is lost', 'client.trio_io:TrioIO.lost', 'self.feed(self.session.connection_lost, connection_id, code, now, message=message, retry_after_ms=retry_after_ms)', 'pass', net='half closed'),
    Bug('the run is not told that a connection is lost', 'server.connection:Upgrades._serve', 'live.lost(number, peer_code)', 'pass', net='half closed'),
    Bug('a socket that takes nothing counts as moving', 'server.peers:WebSocketPeer._flush', 'self._websocket.statistics().bytes_out > bytes_out', 'True', net='deaf reader'),
    Bug('a replay is dropped between the run and the socket', 'protocol.server.driver:RunDriver._catch_up', 'outgoing.push(self._replay(batch))', 'self._replay(batch)', net='slow reader'),
    Bug('a reader whose socket is full counts as served', 'protocol.server.outgoing:Outgoing.offer', 'self.drain()\nreturn False', 'self.drain()\nreturn True', net='busy reader'),
    Bug('the run is not told that a socket refused a batch', 'protocol.server.driver:RunDriver._deliver', 'run.handle_refused(connection_id, batch, now)', 'pass', net='busy reader'),
    # The operator's side.
    Bug('an alert on a series that does not exist', 'infra.websocket-alerts', 'orchestrator_websocket_fallback_http_total', 'orchestrator_websocket_fallbacks_total', net='alerts', design=True, suffix='yml'),
    # The shell of the server.
    Bug('live events overtake a replay', 'protocol.server.fan_out:FanOut.add', 'self._lagging[connection_id] = Lagging(after, seen)', 'self._current[connection_id] = None', design=True),
    Bug('a commit that failed counts as stored', 'server.live_run:LiveRun._stored', 'error is None', 'True', net='bad disk'),
    Bug('the user is whoever a header names', 'server.access:AccessControl.identify_upgrade', 'return None if token is None else self._identify(token, run_id)', "user = head.header(b'x-user-id'); return Identity(user.decode()) if user else (None if token is None else self._identify(token, run_id))", net='wire', design=True),
)
