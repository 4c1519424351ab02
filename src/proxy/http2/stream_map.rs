//! A map from the id of a stream to its state.

/// Entries by ascending id.
///
/// Streams are few, and mostly start and end in order. So a binary search finds an entry faster than a hash, and little
/// is moved when an entry is removed; a `BTreeMap` would add 10 KB to the binary.
pub struct StreamMap<T>(Vec<(u32, T)>);

impl<T> StreamMap<T> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The entry of `id`.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.index(id).ok().map(|index| &self.0[index].1)
    }

    /// The entry of `id`.
    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.index(id).ok().map(|index| &mut self.0[index].1)
    }

    /// Adds or replaces the entry of `id`.
    pub fn insert(&mut self, id: u32, value: T) {
        match self.index(id) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (id, value)),
        }
    }

    /// Removes the entry of `id`.
    pub fn remove(&mut self, id: u32) -> Option<T> {
        self.index(id).ok().map(|index| self.0.remove(index).1)
    }

    /// Removes the entry with the lowest id.
    pub fn pop_first(&mut self) -> Option<(u32, T)> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    /// All entries, by ascending id.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }

    /// All entries, by ascending id.
    pub fn into_vec(self) -> Vec<(u32, T)> {
        self.0
    }

    fn index(&self, id: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |&(id, _)| id)
    }
}

impl<T> Default for StreamMap<T> {
    fn default() -> StreamMap<T> {
        StreamMap(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_by_ascending_id() {
        let mut map = StreamMap::default();
        for id in [5, 1, 9, 3, 7] {
            map.insert(id, id * 10);
        }
        map.insert(9, 91);
        assert_eq!((map.len(), map.get(9), map.get(2)), (5, Some(&91), None));
        *map.get_mut(3).expect("an entry") += 1;
        assert_eq!((map.remove(5), map.remove(5)), (Some(50), None));
        assert_eq!(map.pop_first(), Some((1, 10)));
        assert!(map.iter().eq([(3, &31), (7, &70), (9, &91)]));
        assert_eq!(map.into_vec(), [(3, 31), (7, 70), (9, 91)]);
        assert_eq!(StreamMap::<u8>::default().pop_first(), None);
    }
}
