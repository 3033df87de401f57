//! What must always hold of a mesh, one law a file.

mod no_two_quorate_parts;
mod two_views_with_one_id_are_the_same;
mod views_grow;
mod whole_again_after_heal;

pub(super) use self::no_two_quorate_parts::no_two_quorate_parts;
pub(super) use self::two_views_with_one_id_are_the_same::two_views_with_one_id_are_the_same;
pub(super) use self::views_grow::views_grow;
pub(super) use self::whole_again_after_heal::whole_again_after_heal;
