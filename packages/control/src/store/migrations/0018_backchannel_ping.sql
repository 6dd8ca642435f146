-- What an agent is told with that a person decided (CIBA, ping mode), under the barrier; null where it asks for itself.
ALTER TABLE backchannel_requests ADD COLUMN ping text;
