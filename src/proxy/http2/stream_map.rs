//! A map from the number of a stream to what is known of it.

/// Entries in ascending order of the stream's number. Streams are few and mostly
/// begin and end in order, so an entry is found without a hash of its number, and
/// little is moved when it goes; an ordered tree would be ten kilobytes of code.
pub struct StreamMap<T>(Vec<(u32, T)>);

impl<T> StreamMap<T> {
    pub const fn new() -> StreamMap<T> {
        StreamMap(Vec::new())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, id: u32) -> Option<&T> {
        self.index(id).ok().map(|at| &self.0[at].1)
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.index(id).ok().map(|at| &mut self.0[at].1)
    }

    /// Replaces the entry of `id`, where there is one.
    pub fn insert(&mut self, id: u32, value: T) {
        match self.index(id) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (id, value)),
        }
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        self.index(id).ok().map(|at| self.0.remove(at).1)
    }

    /// Removes the entry with the lowest number.
    pub fn pop_first(&mut self) -> Option<(u32, T)> {
        (!self.0.is_empty()).then(|| self.0.remove(0))
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.0.iter().map(|(id, value)| (*id, value))
    }

    /// All entries in ascending order.
    pub fn into_vec(self) -> Vec<(u32, T)> {
        self.0
    }

    fn index(&self, id: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&id, |&(id, _)| id)
    }
}

impl<T> Default for StreamMap<T> {
    fn default() -> StreamMap<T> {
        StreamMap::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_in_order_whatever_the_order_they_came_in() {
        let mut map = StreamMap::new();
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
        assert_eq!(StreamMap::<u8>::new().pop_first(), None);
    }
}
