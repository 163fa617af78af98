"""The SQL statements of a commit, for both databases; parameters are written `:name`.

SQLAlchemy creates the tables, migrates them and reads from them. A commit goes directly to the driver: SQLAlchemy would take
several times as long as the database. Only the inserts of many rows differ between the databases; they are in `sqlite` and
`postgresql`.
"""

from reference.protocol.records import ANSWERS_KEPT

POSITION = """
    SELECT r.epoch, r.head, r.oldest, s.sequence_number
    FROM collaboration_runs r JOIN collaboration_snapshots s ON s.run_id = r.run_id
    WHERE r.run_id = :run_id"""

CLIENTS_OF_DELETED = """
    SELECT client_id, user_id, last_client_sequence FROM collaboration_clients WHERE run_id = :run_id"""

CLIENTS_OF_MESSAGES = """
    SELECT g.client_id, m.user_id, g.last_client_sequence
    FROM (SELECT client_id, min(sequence_number) AS first, max(client_sequence) AS last_client_sequence
          FROM persisted_collaboration_messages WHERE run_id = :run_id AND client_id IS NOT NULL GROUP BY client_id) g
    JOIN persisted_collaboration_messages m ON m.run_id = :run_id AND m.sequence_number = g.first"""

# A trim: what must be remembered of the events below `oldest` is moved, then they are deleted (1.10, 8.3).
TRIM = (
    """
    INSERT INTO collaboration_clients (run_id, client_id, user_id, last_client_sequence, used_at)
    SELECT m.run_id, g.client_id, m.user_id, g.last_client_sequence, g.used_at
    FROM (SELECT client_id, min(sequence_number) AS first, max(client_sequence) AS last_client_sequence,
                 max(timestamp) AS used_at
          FROM persisted_collaboration_messages
          WHERE run_id = :run_id AND sequence_number < :oldest AND client_id IS NOT NULL GROUP BY client_id) g
    JOIN persisted_collaboration_messages m ON m.run_id = :run_id AND m.sequence_number = g.first
    WHERE true
    ON CONFLICT (run_id, client_id) DO UPDATE SET last_client_sequence = excluded.last_client_sequence,
        used_at = CASE WHEN collaboration_clients.used_at > excluded.used_at THEN collaboration_clients.used_at
                  ELSE excluded.used_at END""",
    """
    INSERT INTO collaboration_answers (run_id, client_id, client_sequence, sequence_number)
    SELECT run_id, client_id, client_sequence, sequence_number FROM persisted_collaboration_messages
    WHERE run_id = :run_id AND sequence_number < :oldest AND client_id IS NOT NULL""",
    f"""
    DELETE FROM collaboration_answers WHERE run_id = :run_id AND (client_id, client_sequence) IN (
        SELECT client_id, client_sequence
        FROM (SELECT client_id, client_sequence,
                     row_number() OVER (PARTITION BY client_id ORDER BY client_sequence DESC) AS age
              FROM collaboration_answers
              WHERE run_id = :run_id AND client_id IN (
                  SELECT client_id FROM persisted_collaboration_messages
                  WHERE run_id = :run_id AND sequence_number < :oldest AND client_id IS NOT NULL)) of_clients
        WHERE age > {ANSWERS_KEPT})""",
    """
    DELETE FROM persisted_collaboration_messages WHERE run_id = :run_id AND sequence_number < :oldest""",
)


def forget(among: str) -> tuple[str, ...]:
    """Statements that leave nothing remembered of clients (8.3) up to event `:head`; `among` is the condition on `client_id`."""
    return (
        f"DELETE FROM collaboration_answers WHERE run_id = :run_id AND client_id {among}",
        f"DELETE FROM collaboration_clients WHERE run_id = :run_id AND client_id {among}",
        f"""UPDATE persisted_collaboration_messages SET client_id = NULL, client_sequence = NULL
        WHERE run_id = :run_id AND sequence_number <= :head AND client_id {among}""",
    )
