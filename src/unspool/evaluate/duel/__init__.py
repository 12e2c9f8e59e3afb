"""The world `duel` read off its pictures: joints, moves, and whether they could be."""
